#!/usr/bin/env python3
"""Writes tests/conformance/every_operation/inputs.rs: how a case of the vectors becomes an input of aws-sdk-s3.

    sdk_inputs.py            write the file
    sdk_inputs.py --check    exit 1 if what is checked in differs from what would be written

The SDK has no way to set a member by its name, so that each operation needs a line of its own for each member.
"""

import argparse
import pathlib
import sys

sys.dont_write_bytecode = True  # a check leaves nothing behind

import model  # noqa: E402

FILE = pathlib.Path(__file__).resolve().parents[2] / "tests/conformance/every_operation/inputs.rs"

HEAD = """//! Inputs of aws-sdk-s3 for every operation: written by `tools/commands/sdk_inputs.py`, do not edit.

use aws_sdk_s3::Client;

use super::{Case, Signer, signed};

/// Has the SDK sign the case of an operation, if it knows that.
#[rustfmt::skip]
#[expect(clippy::too_many_lines, reason = "one table")]
pub(super) async fn sign(client: &Client, operation: &str, case: &Case, signer: Signer) -> bool {
    match operation {
"""

TAIL = """        _ => return false,
    }
    true
}
"""

READERS = {"string": "text", "integer": "integer", "long": "long", "boolean": "flag", "timestamp": "time", "list": "list", "map": "map"}


def reader(member: model.Member) -> str:
    """The method that reads a member out of a case."""
    if member.object_reference:
        return f'reference("{member.wire_name}")'
    if member.name == "PartNumberMarker":
        return 'digits("partNumberMarker")'  # The SDK takes it for text.
    return f'{READERS[member.type]}("{json_name(member.field)}")'


def json_name(field: str) -> str:
    """The name of a field in protobuf's JSON form."""
    first, *rest = field.split("_")
    return first + "".join(word[:1].upper() + word[1:] for word in rest)


def content() -> str:
    """The file's text."""
    lines = []
    for operation in model.load():
        if operation.deprecated and operation.field.endswith(("_lifecycle", "_notification")):
            continue
        lines.append(f'        "{operation.name}" => signed!(client.{operation.field}()')
        for member in operation.members:
            lines.append(f"            .set_{member.field}(case.{reader(member)})")
        lines[-1] += ", signer),"
    return HEAD + "\n".join(lines) + "\n" + TAIL


def main() -> int:
    """Writes or checks the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if the file would change")
    arguments = parser.parse_args()
    text = content()
    if arguments.check:
        if not FILE.exists() or FILE.read_text() != text:
            print(f"{FILE.name}: differs; run tools/commands/sdk_inputs.py", file=sys.stderr)
            return 1
        return 0
    FILE.parent.mkdir(parents=True, exist_ok=True)
    FILE.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
