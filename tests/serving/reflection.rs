//! What a client without the proto files learns from the server: the services, and the commands with their S3 facts.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, Value};
use prost_types::FileDescriptorProto;
use tonic::transport::Channel;

use super::{GRANTS, connect};
use crate::harness::presignd::{Presignd, static_tenant};

/// A client of one version of the protocol. The messages of both are alike and have different types.
macro_rules! client {
    ($name:ident, $version:ident) => {
        mod $name {
            use tonic::transport::Channel;
            use tonic_reflection::pb::$version::ServerReflectionRequest;
            use tonic_reflection::pb::$version::server_reflection_client::ServerReflectionClient;
            use tonic_reflection::pb::$version::server_reflection_request::MessageRequest;
            use tonic_reflection::pb::$version::server_reflection_response::MessageResponse;

            async fn ask(channel: Channel, request: MessageRequest) -> MessageResponse {
                let request = ServerReflectionRequest {
                    host: String::new(),
                    message_request: Some(request),
                };
                let mut answers = ServerReflectionClient::new(channel)
                    .server_reflection_info(tokio_stream::once(request))
                    .await
                    .expect("reflection is served")
                    .into_inner();
                let answer = answers.message().await.expect("an answer").expect("one");
                answer.message_response.expect("a response")
            }

            pub(super) async fn services(channel: Channel) -> Vec<String> {
                let request = MessageRequest::ListServices(String::new());
                match ask(channel, request).await {
                    MessageResponse::ListServicesResponse(list) => {
                        list.service.into_iter().map(|s| s.name).collect()
                    }
                    other => panic!("{other:?}"),
                }
            }

            /// The file that defines a symbol, or that has a name, in bytes.
            pub(super) async fn file(channel: Channel, symbol: bool, name: &str) -> Vec<u8> {
                let request = if symbol {
                    MessageRequest::FileContainingSymbol(name.to_owned())
                } else {
                    MessageRequest::FileByFilename(name.to_owned())
                };
                match ask(channel, request).await {
                    MessageResponse::FileDescriptorResponse(mut files) => {
                        files.file_descriptor_proto.swap_remove(0)
                    }
                    other => panic!("{name}: {other:?}"),
                }
            }
        }
    };
}

client!(current, v1);
client!(alpha, v1alpha);

/// A `FileDescriptorSet`, whose only field is its files.
#[derive(Clone, PartialEq, prost::Message)]
struct FileSet {
    #[prost(bytes = "vec", repeated, tag = "1")]
    files: Vec<Vec<u8>>,
}

/// The file of a symbol and all that it imports, byte for byte as served: decoding them would lose the options.
async fn pool(channel: &Channel, is_alpha: bool, symbol: &str) -> DescriptorPool {
    let fetch = async |is_symbol, name: &str| {
        if is_alpha {
            alpha::file(channel.clone(), is_symbol, name).await
        } else {
            current::file(channel.clone(), is_symbol, name).await
        }
    };
    let mut files = BTreeMap::new();
    let mut next = vec![fetch(true, symbol).await];
    while let Some(bytes) = next.pop() {
        let file = FileDescriptorProto::decode(&*bytes).unwrap();
        for import in &file.dependency {
            if !files.contains_key(import) {
                next.push(fetch(false, import).await);
            }
        }
        files.insert(file.name().to_owned(), bytes);
    }
    let set = FileSet {
        files: files.into_values().collect(),
    };
    DescriptorPool::decode(&*set.encode_to_vec()).unwrap()
}

fn text(message: &DynamicMessage, field: &str) -> String {
    match &*message
        .get_field_by_name(field)
        .expect("the field is known")
    {
        Value::String(text) => text.clone(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn both_versions_list_the_services() {
    let presignd = Presignd::with_tenant("acme", &static_tenant(GRANTS))
        .start()
        .await;
    let channel = connect(&presignd).await;
    for services in [
        current::services(channel.clone()).await,
        alpha::services(channel.clone()).await,
    ] {
        let services: BTreeSet<&str> = services.iter().map(String::as_str).collect();
        for expected in [
            "presignd.v1.PresignService",
            "presignd.v1.OperationsService",
            "grpc.health.v1.Health",
        ] {
            assert!(services.contains(expected), "{services:?}");
        }
    }
    drop(channel);
    presignd.shutdown().await.unwrap();
}

#[tokio::test]
async fn both_versions_serve_the_commands_with_their_options() {
    let presignd = Presignd::with_tenant("acme", &static_tenant(GRANTS))
        .start()
        .await;
    let channel = connect(&presignd).await;
    for is_alpha in [false, true] {
        let pool = pool(&channel, is_alpha, "presignd.v1.PresignService").await;
        let service = pool.get_service_by_name("presignd.v1.PresignService");
        let methods: Vec<String> = service
            .expect("the service")
            .methods()
            .map(|method| method.name().to_owned())
            .collect();
        assert_eq!(
            methods,
            [
                "Presign",
                "BatchPresign",
                "StreamPresign",
                "PresignPost",
                "ExplainPresign",
                "StartMultipartUpload",
                "PresignParts"
            ]
        );

        let command = pool.get_message_by_name("presignd.v1.Command").unwrap();
        let operations = command.oneofs().next().expect("the oneof");
        assert_eq!(operations.fields().count(), 116);

        let operation = pool
            .get_extension_by_name("presignd.s3.v1.operation")
            .unwrap();
        let binding = pool
            .get_extension_by_name("presignd.s3.v1.binding")
            .unwrap();
        assert_eq!((operation.number(), binding.number()), (50_101, 50_101));
        let put = pool
            .get_message_by_name("presignd.s3.v1.PutObject")
            .unwrap();
        let options = put.options();
        assert!(options.has_extension(&operation));
        let facts = options.get_extension(&operation);
        assert_eq!(text(facts.as_message().unwrap(), "method"), "PUT");

        let class = put.get_field_by_name("storage_class").unwrap().options();
        assert!(class.has_extension(&binding));
        let place = class.get_extension(&binding);
        let name = text(place.as_message().unwrap(), "name");
        assert_eq!(name, "x-amz-storage-class");
    }
    drop(channel);
    presignd.shutdown().await.unwrap();
}
