#!/usr/bin/env python3
"""Writes the command protos from botocore's S3 model, overlay.toml and field_numbers.lock.json.

    generate.py            write proto/presignd/s3/v1/commands.proto, proto/presignd/v1/command.proto and the lock
    generate.py --check    exit 1, naming the files, if what is checked in differs from what would be written

The model gives the HTTP side; overlay.toml gives what it does not know: the class and the IAM actions.
The output depends on nothing else, so the same inputs give the same bytes.
"""

import argparse
import json
import pathlib
import sys
import tomllib

sys.dont_write_bytecode = True  # a check leaves nothing behind

import lock as field_numbers  # noqa: E402
import model  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[2]
OVERLAY = pathlib.Path(__file__).with_name("overlay.toml")
LOCK = ROOT / "tools/commands/field_numbers.lock.json"
COMMANDS = ROOT / "proto/presignd/s3/v1/commands.proto"
COMMAND = ROOT / "proto/presignd/v1/command.proto"

CLASSES = {"read", "write", "delete", "list", "admin"}
RESOURCES = {"service", "bucket", "object", "referenced_object"}
MAX_ACTIONS = 32
ACTION_KEYS = {"action", "resource", "when_present", "when_absent", "prefix_condition", "by_name_only", "by_name_outside_aws"}
OPERATION_KEYS = {"class", "actions", "by_name_only"}

PLACES = {"uri": "PLACE_PATH", "querystring": "PLACE_QUERY", "header": "PLACE_HEADER", "headers": "PLACE_HEADER_PREFIX"}
TIMESTAMP_FORMATS = {"rfc822": "TIMESTAMP_FORMAT_HTTP_DATE", "iso8601": "TIMESTAMP_FORMAT_ISO8601"}
TYPES = {
    "string": "optional string",
    "integer": "optional int32",
    "long": "optional int64",
    "boolean": "optional bool",
    "timestamp": "google.protobuf.Timestamp",
    "list": "repeated string",
    "map": "map<string, string>",
}


def overlay() -> dict:
    """The hand-written facts: operation -> class and actions."""
    facts = tomllib.loads(OVERLAY.read_text())
    outside_aws = set(facts.pop("by_name_outside_aws"))
    actions = [action for fact in facts.values() for action in fact["actions"]]
    for name in sorted(outside_aws - {action["action"] for action in actions}):
        raise SystemExit(f"overlay.toml: by_name_outside_aws: {name}: no operation has this action")
    for action in actions:
        action["by_name_outside_aws"] = action["action"] in outside_aws
    return facts


def verify_overlay(facts: dict, operations: list[model.Operation]) -> None:
    """Every operation has facts, and they speak of fields that exist."""
    names = {operation.name for operation in operations}
    for name in sorted(names ^ facts.keys()):
        raise SystemExit(f"overlay.toml: {name}: " + ("missing" if name in names else "no such operation"))
    for operation in operations:
        fact = facts[operation.name]
        fields = {member.field for member in operation.members}
        fields |= {pseudo for pseudo, base in model.PSEUDO_FIELDS.items() if base in fields}
        problem = None
        if fact.keys() - OPERATION_KEYS:
            problem = f"unknown keys {sorted(fact.keys() - OPERATION_KEYS)}"
        elif fact.get("class") not in CLASSES:
            problem = f"class must be one of {sorted(CLASSES)}"
        elif not 1 <= len(fact["actions"]) <= MAX_ACTIONS:
            problem = f"must have 1 to {MAX_ACTIONS} actions"
        for action in fact["actions"]:
            named = action.get("when_present", []) + action.get("when_absent", [])
            if action.keys() - ACTION_KEYS:
                problem = f"{action['action']}: unknown keys {sorted(action.keys() - ACTION_KEYS)}"
            elif action["resource"] not in RESOURCES:
                problem = f"{action['action']}: resource must be one of {sorted(RESOURCES)}"
            elif action["resource"] == "object" and operation.path != "object" and operation.name != "DeleteObjects":
                problem = f"{action['action']}: the path names no object"
            elif action["resource"] == "bucket" and operation.path not in ("bucket", "object"):
                problem = f"{action['action']}: the path names no bucket"
            elif action["resource"] == "referenced_object" and not any(m.object_reference for m in operation.members):
                problem = f"{action['action']}: no field names another object"
            elif set(named) - fields:
                problem = f"{action['action']}: no fields {sorted(set(named) - fields)}"
            elif action.get("prefix_condition") and "prefix" not in fields:
                problem = f"{action['action']}: a condition on a prefix, but there is no field prefix"
        if problem:
            raise SystemExit(f"overlay.toml: {operation.name}: {problem}")


def text(value: str) -> str:
    """A proto string literal."""
    return json.dumps(value, ensure_ascii=True)


def texts(key: str, values) -> list[str]:
    """A list of proto string literals, laid out as `buf format` does."""
    if len(values) == 1:
        return [f"{key}: [{text(values[0])}]"]
    return [f"{key}: [", *(f"  {text(value)}," for value in values[:-1]), f"  {text(values[-1])}", "]"]


def render_operation(operation: model.Operation, fact: dict) -> list[str]:
    """The `operation` option of a message."""
    lines = [f"method: {text(operation.method)}", f"path: PATH_FORM_{operation.path.upper()}"]
    if operation.fixed_path:
        lines.append(f"fixed_path: {text(operation.fixed_path)}")
    lines += [f"fixed_query: {text(parameter)}" for parameter in operation.fixed_query]
    lines.append(f"class: COMMAND_CLASS_{fact['class'].upper()}")
    lines.append(f"body: BODY_KIND_{operation.body.upper()}")
    if operation.checksum_required:
        lines.append("checksum_required: true")
    lines += [f"endpoint_parameters: {text(parameter)}" for parameter in operation.endpoint_parameters]
    if operation.host_prefix:
        lines.append(f"host_prefix: {text(operation.host_prefix)}")
    for action in fact["actions"]:
        lines.append("actions: {")
        lines.append(f"  action: {text(action['action'])}")
        lines.append(f"  resource: IAM_RESOURCE_{action['resource'].upper()}")
        for key in ("when_present", "when_absent"):
            if action.get(key):
                lines += ["  " + line for line in texts(key, action[key])]
        lines += [f"  {key}: true" for key in ("prefix_condition", "by_name_only", "by_name_outside_aws") if action.get(key)]
        lines.append("}")
    if fact.get("by_name_only"):
        lines.append("by_name_only: true")
    return ["  option (operation) = {", *("    " + line for line in lines), "  };"]


def describe_member(member: model.Member) -> str:
    """One sentence on where a field travels."""
    place = {
        "uri": f"Path label `{member.wire_name}`",
        "querystring": f"Query parameter `{member.wire_name}`",
        "header": f"Header `{member.wire_name}`",
        "headers": f"Headers `{member.wire_name}*`, one an entry",
    }[member.location]
    notes = []
    if member.required:
        notes.append("required")
    if member.sensitive:
        notes.append("secret")
    if member.type == "list":
        notes.append("joined by commas")
    if member.timestamp_format:
        notes.append({"rfc822": "an HTTP date", "iso8601": "an ISO 8601 time"}[member.timestamp_format])
    if member.object_reference:
        notes.append('"bucket/key" unencoded, with an optional "?versionId="')
    if member.host_label:
        notes.append("also a label of the host")
    return "; ".join([place, *notes]) + "."


def render_member(member: model.Member, number: int) -> list[str]:
    """One field with its `binding` option."""
    lines = [f"place: {PLACES[member.location]}", f"name: {text(member.wire_name)}"]
    if member.timestamp_format:
        lines.append(f"timestamp_format: {TIMESTAMP_FORMATS[member.timestamp_format]}")
    lines += [f"{key}: true" for key in ("required", "sensitive") if getattr(member, key)]
    if member.allowed_values:
        lines += texts("allowed_values", member.allowed_values)
    lines += [f"{key}: true" for key in ("object_reference", "host_label") if getattr(member, key)]
    return [
        f"  // {describe_member(member)}",
        f"  {TYPES[member.type]} {member.field} = {number} [(binding) = {{",
        *("    " + line for line in lines),
        "  }];",
    ]


def render_reserved(numbers: dict[str, int], fields: set[str], indent: str) -> list[str]:
    """The `reserved` statements for what the lock knows and the model has lost."""
    lost = sorted((number, name) for name, number in numbers.items() if name not in fields)
    if not lost:
        return []
    return [
        f"{indent}reserved {', '.join(str(number) for number, _ in lost)};",
        f"{indent}reserved {', '.join(text(name) for _, name in lost)};",
    ]


BODIES = {
    "none": None,
    "bytes": "The body is any bytes",
    "xml": "The body is XML",
    "json": "The body is JSON",
}


def render_message(operation: model.Operation, fact: dict, numbers: dict[str, int]) -> list[str]:
    """One command message."""
    notes = [f"`{operation.method} {operation.request_uri}`"]
    if BODIES[operation.body]:
        notes.append(BODIES[operation.body] + (", with a checksum" if operation.checksum_required else ""))
    if operation.deprecated:
        notes.append("Superseded in S3's API by the command of the same name with `Configuration` at its end")
    lines = [f"// {'. '.join(notes)}.", f"message {operation.name} {{"]
    lines += render_reserved(numbers, {member.field for member in operation.members}, "  ")
    lines += render_operation(operation, fact)
    for member in sorted(operation.members, key=lambda member: numbers[member.field]):
        lines += ["", *render_member(member, numbers[member.field])]
    return [*lines, "}"]


NOTICE = "// Written by tools/commands/generate.py: change the overlay or the generator, not this file."


def render_commands(operations: list[model.Operation], facts: dict, numbers: dict) -> str:
    """commands.proto."""
    lines = [
        NOTICE,
        "//",
        "// Every operation of the S3 API as a typed message, with each member that travels in the URI, the query or a header.",
        'syntax = "proto3";',
        "",
        "package presignd.s3.v1;",
        "",
        'import "google/protobuf/timestamp.proto";',
        'import "presignd/s3/v1/options.proto";',
    ]
    for operation in operations:
        lines += ["", *render_message(operation, facts[operation.name], numbers["messages"][operation.name])]
    return "\n".join(lines) + "\n"


def render_command(operations: list[model.Operation], numbers: dict) -> str:
    """command.proto."""
    fields = sorted((numbers["commands"][operation.field], operation) for operation in operations)
    lines = [
        NOTICE,
        'syntax = "proto3";',
        "",
        "package presignd.v1;",
        "",
        'import "presignd/s3/v1/commands.proto";',
        'import "presignd/v1/signing.proto";',
        "",
        "// One S3 command: exactly one of these is set.",
        "message Command {",
        "  // The body that the client will send, which the signature then binds. Unset: any body that the command takes.",
        "  Payload payload = 1;",
        "  // How to sign. Unset: as the tenant's configuration says.",
        "  SigningOptions options = 2;",
        "  // For what qualifies any command.",
        "  reserved 3 to 99;",
        *render_reserved(numbers["commands"], {operation.field for operation in operations}, "  "),
        "",
        "  // The operation, named as in S3's API.",
        "  oneof command {",
    ]
    for number, operation in fields:
        lines.append(f"    // `{operation.method} {operation.request_uri}`.")
        lines.append(f"    presignd.s3.v1.{operation.name} {operation.field} = {number};")
    return "\n".join([*lines, "  }", "}"]) + "\n"


def outputs() -> dict[pathlib.Path, str]:
    """Every file that the generator writes, with its text."""
    operations = model.load()
    facts = overlay()
    verify_overlay(facts, operations)
    locked = json.loads(LOCK.read_text()) if LOCK.exists() else {}
    for proto in (COMMANDS, COMMAND):
        if proto.exists():
            field_numbers.verify_keeps(locked, proto.read_text())
    numbers = field_numbers.extended(
        locked,
        [operation.field for operation in operations],
        {operation.name: [member.field for member in operation.members] for operation in operations},
    )
    return {
        COMMANDS: render_commands(operations, facts, numbers),
        COMMAND: render_command(operations, numbers),
        LOCK: json.dumps(numbers, indent=1) + "\n",
    }


def main() -> int:
    """Writes or checks the files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a file would change")
    arguments = parser.parse_args()
    try:
        files = outputs()
    except field_numbers.LockError as error:
        print(f"{LOCK.relative_to(ROOT)}: {error}", file=sys.stderr)
        return 1
    drifted = [path for path, content in files.items() if not path.exists() or path.read_text() != content]
    for path in drifted:
        if arguments.check:
            print(f"{path.relative_to(ROOT)}: differs; run tools/commands/generate.py", file=sys.stderr)
        else:
            path.write_text(files[path])
            print(f"{path.relative_to(ROOT)}: written")
    return 1 if arguments.check and drifted else 0


if __name__ == "__main__":
    sys.exit(main())
