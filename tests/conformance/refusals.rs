//! Every field of every operation is held to the rules of its place: found by reflection, so that no operation can be forgotten.

use presignd::proto::{FILE_DESCRIPTOR_SET, v1};
use presignd::sign::operations::message as message_of;
use prost_reflect::{DescriptorPool, DynamicMessage, ExtensionDescriptor, FieldDescriptor, MapKey};
use prost_reflect::{Kind, ReflectMessage, Value};

use super::vectors;

/// Stands in every hostile value, and in no answer.
const MARKER: &str = "U0VDUkVUTUFSS0VS";

/// A command that binds, to be spoilt one field at a time.
struct Specimen {
    operation: String,
    command: DynamicMessage,
    field: FieldDescriptor,
    binding: ExtensionDescriptor,
}

impl Specimen {
    /// The full case of every operation.
    fn all() -> Vec<Self> {
        let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET).expect("the contract is valid");
        let binding = pool
            .get_extension_by_name("presignd.s3.v1.binding")
            .expect("fields have the option");
        let specimen = |(operation, cases): (String, Vec<super::Case>)| {
            let case = cases.iter().find(|case| case.name == "full");
            let command = case
                .expect("every operation has a full case")
                .dynamic_command(&pool);
            let field = command
                .fields()
                .next()
                .expect("a command has its message")
                .0;
            Self {
                operation,
                command,
                field,
                binding: binding.clone(),
            }
        };
        vectors().into_iter().map(specimen).collect()
    }

    fn message(&self) -> DynamicMessage {
        let value = self.command.get_field(&self.field);
        value.as_message().expect("a command is a message").clone()
    }

    fn fields(&self) -> Vec<FieldDescriptor> {
        self.message().descriptor().fields().collect()
    }

    fn option(&self, field: &FieldDescriptor, name: &str) -> Value {
        let options = field.options();
        let binding = options.get_extension(&self.binding);
        let binding = binding.as_message().expect("the option is a message");
        let value = binding.get_field_by_name(name);
        value.expect("the option has the field").into_owned()
    }

    fn is_required(&self, field: &FieldDescriptor) -> bool {
        self.option(field, "required") == Value::Bool(true)
    }

    fn is_header(&self, field: &FieldDescriptor) -> bool {
        // PLACE_HEADER
        self.option(field, "place") == Value::EnumNumber(3)
    }

    fn is_reference(&self, field: &FieldDescriptor) -> bool {
        self.option(field, "object_reference") == Value::Bool(true)
    }

    /// Asserts that the command with the changed message is refused, for this field and no other.
    fn refuses(&self, message: DynamicMessage, field: &str, what: &str) {
        let at = format!("{}, {field}: {what}", self.operation);
        let mut command = self.command.clone();
        command.set_field(&self.field, Value::Message(message));
        let command: v1::Command = command.transcode_to().expect("the types are those of v1");
        let variant = command.command.expect("a request has a command");
        let Err(error) = message_of(&variant).to_bound() else {
            panic!("{at}: accepted");
        };
        let fields: Vec<&str> = error.0.iter().map(|v| v.field.as_ref()).collect();
        assert_eq!(fields, [field], "{at}");
        let printed = format!("{error} {error:?}");
        assert!(!printed.contains(MARKER), "{at}: {printed}");
    }
}

#[test]
fn no_operation_binds_without_a_required_member() {
    let mut refused = 0;
    for specimen in Specimen::all() {
        for field in specimen.fields() {
            if !specimen.is_required(&field) {
                continue;
            }
            let mut message = specimen.message();
            message.clear_field(&field);
            specimen.refuses(message, field.name(), "left out");
            if field.kind() == Kind::String && !field.is_list() {
                let mut message = specimen.message();
                message.set_field(&field, Value::String(String::new()));
                specimen.refuses(message, field.name(), "empty");
            }
            refused += 1;
        }
    }
    // Two thirds of the operations need a bucket alone.
    assert!(refused > 150, "{refused} required members");
}

#[test]
fn no_header_of_any_operation_can_break_out_of_its_line() {
    let hostile = ["\r\nx-evil: 1", "\n", "\r", "\t.", "\0", "\u{7f}", "é", " "];
    let mut refused = 0;
    for specimen in Specimen::all() {
        for field in specimen.fields() {
            let is_text = field.kind() == Kind::String && !field.is_map();
            if !specimen.is_header(&field) || !is_text || specimen.is_reference(&field) {
                continue;
            }
            for end in hostile {
                let value = Value::String(format!("{MARKER}{end}"));
                let value = if field.is_list() {
                    Value::List(vec![value])
                } else {
                    value
                };
                let mut message = specimen.message();
                // It would miss the checksum that is refused.
                message.clear_field_by_name("checksum_algorithm");
                message.set_field(&field, value);
                specimen.refuses(message, field.name(), &format!("ends in {end:?}"));
            }
            refused += 1;
        }
    }
    assert!(refused > 400, "{refused} headers");
}

#[test]
fn no_metadata_of_any_operation_can_break_out_of_its_line() {
    let mut maps = 0;
    for specimen in Specimen::all() {
        for field in specimen.fields().iter().filter(|field| field.is_map()) {
            for (name, value) in [("n", "a\r\nb"), ("n", "é"), ("a\r\nb", "v"), ("a b", "v")] {
                let mut message = specimen.message();
                let entry = (
                    MapKey::String(name.to_owned()),
                    Value::String(format!("{MARKER}{value}")),
                );
                message.set_field(field, Value::Map([entry].into()));
                let named = format!("{}[{name:?}]", field.name());
                specimen.refuses(message, &named, "hostile");
            }
            maps += 1;
        }
    }
    assert_eq!(
        maps, 4,
        "CopyObject, CreateMultipartUpload, PutObject, WriteGetObjectResponse"
    );
}

#[test]
fn no_key_of_any_operation_can_be_turned_into_another() {
    let mut keys = 0;
    for specimen in Specimen::all() {
        for field in specimen.fields() {
            if specimen.option(&field, "name") != Value::String("Key".to_owned()) {
                continue;
            }
            for key in ["..", "a/../b", "./a", "a/."] {
                let mut message = specimen.message();
                message.set_field(&field, Value::String(key.to_owned()));
                specimen.refuses(message, field.name(), key);
            }
            keys += 1;
        }
    }
    assert!(keys > 20, "{keys} operations on objects");
}
