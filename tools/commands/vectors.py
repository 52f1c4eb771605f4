#!/usr/bin/env python3
"""Writes tests/vectors/botocore/<Operation>.json: what botocore signs for every operation of S3.

    vectors.py            write the vectors
    vectors.py --check    exit 1, naming the files, if what is checked in differs from what would be written

Cases of an operation: `minimal` has the required members only, `full` every member of the path, the query and the headers, and
the `hard` ones hostile values, once on AWS and once with path style on a store of one's own. GetObject has one more for each
hostile key, and one without a session token.

A case gives presignd's request as the JSON form of presignd.v1.Command, the settings, the method, the headers that the client must send
(as it must send them: unfolded), the canonical request, the string to sign, and the URL. botocore puts the operation's parameters before
the signature's in the URL, whereas the canonical request sorts them: compare parsed queries.

botocore signs as the client must, UNSIGNED-PAYLOAD and no header hoisted into the query, once these habits of it are switched off:

- Its query signer moves the body into the query. `_get_body_as_dict` gives nothing instead; bodies are dummies that pass its checks.
- Its clock is fixed.
- It adds encoding-type=url to lists that do not ask for it. That handler is unregistered.
- It adds checksums where S3 does not demand them. They are off, and a presigned URL gets none.
- It invents RenameObject's ClientToken, so every case gives one.
- It takes RenameSource as it is, but quotes CopySource. S3 wants both quoted, so RenameSource is quoted before botocore sees it. In the
  request both are raw. It leaves a copy's version id unquoted, so those of the cases need no quoting.

Where botocore still differs from S3's rules, the case has `differs` with the reason:

- GetBucketLocation: botocore always uses path style.
- WriteGetObjectResponse on an endpoint of one's own: botocore puts the route before it, even if it is an IP address.

Left out of the inputs, because presignd refuses them: ChecksumAlgorithm where the operation has no member for the checksum, headers that are
not printable ASCII, be they the request's or the answer's, malformed Content-Dispositions, and keys with "." or ".." segments.
"""

import argparse
import datetime
import json
import os
import pathlib
import re
import sys
from urllib.parse import quote, urlsplit

sys.dont_write_bytecode = True  # a check leaves nothing behind

import botocore.auth  # noqa: E402
import botocore.handlers  # noqa: E402
import botocore.session  # noqa: E402
from botocore.config import Config  # noqa: E402

import model  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[2]
VECTORS = ROOT / "tests/vectors/botocore"

NOW = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.timezone.utc)
REGION = "eu-west-1"
# The key pair of AWS's published examples, named as temporary ones are.
ACCESS_KEY_ID = "ASIAIOSFODNN7EXAMPLE"
SECRET_ACCESS_KEY = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
SESSION_TOKEN = "IQoJb3JpZ2luX2VjEXAMPLE//////////wEaCWV1LXdlc3QtMSJGMEQCIB+Zk/9yF0+EXAMPLETOKEN+/=="

AWS = {"url": None, "path_style": False}
STORE = {"url": "http://127.0.0.1:9000", "path_style": True}

HARD_KEYS = [
    "/leading/slash",
    "double//slashes///and/trailing/",
    "reserved !\"#$%&'()*+,-/:;<=>?@[\\]^_`{|}~ unreserved AZaz09-._~",
    "%41 is not A, %2F no slash, %zz nothing",
    " spaces and+plus and  two  ",
    "emoji/\U0001f980/\U0001f468\u200d\U0001f469\u200d\U0001f467",
    "unicode/\u00e9 e\u0301 \u00df \u4e2d\u6587 \u0627\u0644\u0639\u0631\u0628\u064a\u0629",
    "...three/dots/.hidden/a..b",
    "controls/\t/\x01\x7f",
    "query?versionId=1&X-Amz-Signature=0#fragment",
]
# What a policy, or a careless path, would read as a pattern. Apart from the rest, which are dealt out by their number.
PATTERN_KEYS = ["a/*", "a?c", "${aws:username}/k", "a/%2F..", "a%2F..%2Fb"]
HARD_QUERY = [
    "a b+c%41&d=e/f?g#h~*'()",
    "\U0001f980 \u00e9/\u4e2d;,:@$!",
    " lead and trail ",
    "%2F%zz&X-Amz-Expires=604800",
]
HARD_HEADER = "a  b \"c\", d;e=%41 + ~!*'() \\ {f}|<g>"
HARD_DISPOSITION = "x-%41+~!*' ; a=\"b  \\\"c\\\", d;e=%41 + ~!*'() \\\\ {f}|<g>\"; filename*=UTF-8''%C3%A9"

# Text for members whose form has a meaning. Others get a text made of their name.
FULL = {
    "Bucket": "acme-files",
    "Key": "reports/2026/january.pdf",
    "CacheControl": "max-age=60, private",
    "ChecksumCRC32": "DUoRhQ==",
    "ChecksumCRC32C": "yZRlqg==",
    "ChecksumCRC64NVME": "jSnVw/bqjr4=",
    "ChecksumMD5": "XrY7u+Ae7tCTyyK7j1rNww==",
    "ChecksumSHA1": "Kq5sNclPz7QV2+lfQIuc6R7oRu0=",
    "ChecksumSHA256": "uU0nuZNNPgilLlLX2n2r+sSE7+N6U4DukIj3rOLvzek=",
    "ContentDisposition": 'attachment; filename="january report.pdf"',
    "ContentEncoding": "gzip",
    "ContentLanguage": "en-GB",
    "ContentMD5": "XrY7u+Ae7tCTyyK7j1rNww==",
    "ContentType": "application/pdf",
    "CopySource": "acme-archive/old reports/d\u00e9cembre+1.pdf?versionId=3HL4kqtJlcpXroDTDmJrmSpXd3dIbrHY",
    "CopySourceIfMatch": '"5eb63bbbe01eeed093cb22bb8f5acdc3"',
    "CopySourceRange": "bytes=0-5242879",
    "CopySourceSSECustomerAlgorithm": "AES256",
    "CopySourceSSECustomerKey": "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=",
    "CopySourceSSECustomerKeyMD5": "PNpe6S5QLrNrI6I5sJzr0g==",
    "ExpectedBucketOwner": "111122223333",
    "ExpectedSourceBucketOwner": "444455556666",
    "GrantFullControl": 'id="79a59df900b949e55d96a1e698fbacedfd6e09d98eacf8f8d5218e7cd47ef2be"',
    "GrantRead": 'uri="http://acs.amazonaws.com/groups/global/AllUsers", id="79a59df900b949e55d96a1e698fbaced"',
    "IfMatch": '"5eb63bbbe01eeed093cb22bb8f5acdc3"',
    "IfNoneMatch": "*",
    "MFA": "arn:aws:iam::111122223333:mfa/operator 123456",
    "Prefix": "reports/",
    "Range": "bytes=0-1023",
    "RenameSource": "acme-files/old reports/d\u00e9cembre+1.pdf",
    "RequestRoute": "io-cell1-001",
    "ResponseContentDisposition": 'attachment; filename="january report.pdf"',
    "SSECustomerAlgorithm": "AES256",
    "SSECustomerKey": "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=",
    "SSECustomerKeyMD5": "PNpe6S5QLrNrI6I5sJzr0g==",
    "SSEKMSEncryptionContext": "eyJ0ZW5hbnQiOiJhY21lIn0=",
    "SSEKMSKeyId": "arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab",
    "Tagging": "team=finance&quarter=q1%2F2026",
    "UploadId": "VXBsb2FkSUQ+/for=example_-.~",
    "VersionId": "3HL4kqtJlcpXroDTDmJ+rmSpXd3dIbrHY",
}
NUMBERS = {"ContentLength": 5242880, "MpuObjectSize": 5368709121, "PartNumber": 7, "StatusCode": 206}
FULL_TIMES = ["2026-02-03T04:05:06Z", "2024-02-29T23:59:59Z"]
HARD_TIMES = ["1970-01-01T00:00:00Z", "9999-12-31T23:59:59Z"]
FULL_METADATA = {"project": "apollo", "reviewed-by": "ada"}
HARD_METADATA = {"Mixed-Case": "Inner  double   spaces", "with.dots_and~": HARD_HEADER, "empty": "", "percent": "%41+%2B"}
# Compatible stores have values of their own, which presignd lets through there.
VENDOR_VALUES = {"StorageClass": "VENDOR_COLD", "ServerSideEncryption": "vendor:ring"}


class Recorder:
    """Stands between botocore and its signer, and keeps what is signed."""

    def __init__(self):
        self.canonical_request = self.string_to_sign = self.headers = self.method = None
        signer = botocore.auth.S3SigV4QueryAuth
        original = signer.string_to_sign

        def string_to_sign(auth, request, canonical_request):
            self.method = request.method
            self.canonical_request = canonical_request
            self.headers = {
                name: ",".join(auth.headers_to_sign(request).get_all(name))
                for name in sorted(set(auth.headers_to_sign(request)))
                if name != "host"
            }
            self.string_to_sign = original(auth, request, canonical_request)
            return self.string_to_sign

        signer.string_to_sign = string_to_sign


def patched_client(endpoint: dict, session_token: str | None):
    """A botocore client that signs as the notes above say."""
    client = botocore.session.Session().create_client(
        "s3",
        region_name=REGION,
        endpoint_url=endpoint["url"],
        aws_access_key_id=ACCESS_KEY_ID,
        aws_secret_access_key=SECRET_ACCESS_KEY,
        aws_session_token=session_token,
        config=Config(
            signature_version="s3v4",
            request_checksum_calculation="when_required",
            s3={"addressing_style": "path" if endpoint["path_style"] else "virtual"},
        ),
    )
    for operation in ("ListObjects", "ListObjectsV2", "ListObjectVersions"):
        client.meta.events.unregister(
            f"before-parameter-build.s3.{operation}", botocore.handlers.set_list_objects_encoding_type_url
        )
    return client


def dummy(shape):
    """The least value that passes botocore's checks of a body."""
    if shape.type_name == "structure":
        names = list(shape.members)[:1] if shape.is_tagged_union else shape.required_members
        return {name: dummy(shape.members[name]) for name in names}
    text = "x" * shape.metadata.get("min", 1)
    return {"list": [], "map": {}, "string": text, "blob": b"x", "boolean": True, "timestamp": NOW}.get(shape.type_name, 1)


def body(operation_model) -> dict:
    """The members of an operation's input that travel in the body, as dummies."""
    shape = operation_model.input_shape
    if shape is None:
        return {}
    return {
        name: dummy(member)
        for name, member in shape.members.items()
        if "location" not in member.serialization and name in shape.required_members
    }


def instant(text: str) -> datetime.datetime:
    return datetime.datetime.fromisoformat(text)


def full_value(member: model.Member, index: int):
    """An ordinary value, in JSON's terms: a timestamp is its text."""
    if member.type == "timestamp":
        return FULL_TIMES[index % len(FULL_TIMES)]
    if member.type in ("integer", "long"):
        return NUMBERS.get(member.name, 100)
    if member.type == "boolean":
        return True
    if member.type == "list":
        return list(member.allowed_values[:3])
    if member.type == "map":
        return FULL_METADATA
    if member.name in FULL:
        return FULL[member.name]
    if member.allowed_values:
        return member.allowed_values[0]
    return f"{member.field.replace('_', '-')}-1"


def hard_value(member: model.Member, index: int, seed: int, endpoint: dict):
    """A hostile value of the same form."""
    if member.name == "Bucket":
        return "dotted.bucket-1" if endpoint["path_style"] else FULL["Bucket"]
    if member.name == "Key":
        return HARD_KEYS[seed % len(HARD_KEYS)]
    if member.object_reference:
        version = "?versionId=null" if member.name == "CopySource" else ""
        return f"acme-files/{HARD_KEYS[(seed + 1) % 7]}{version}"
    if endpoint["path_style"] and member.name in VENDOR_VALUES:
        return VENDOR_VALUES[member.name]
    if member.type == "timestamp":
        return HARD_TIMES[index % len(HARD_TIMES)]
    if member.type in ("integer", "long"):
        return member.minimum if member.minimum is not None else {"integer": 2147483647, "long": 9007199254740993}[member.type]
    if member.type == "boolean":
        return False
    if member.type == "map":
        return HARD_METADATA
    if member.type == "list" or member.allowed_values or member.host_label:
        return full_value(member, index)
    if member.wire_name.endswith("content-disposition"):
        return HARD_DISPOSITION
    if member.location == "querystring" and not member.wire_name.startswith("response-"):
        return HARD_QUERY[(seed + index) % len(HARD_QUERY)]
    return HARD_HEADER


def accepted(operation: model.Operation, member: model.Member) -> bool:
    """Whether presignd takes the member: a checksum algorithm needs the checksum that it names."""
    has_checksum = any(re.match(r"checksum_(crc|sha|md5|xxhash)", other.field) for other in operation.members)
    return member.wire_name != "x-amz-sdk-checksum-algorithm" or has_checksum


def inputs(operation: model.Operation, seed: int):
    """The cases of an operation: name, endpoint, session token, expiry and values by member."""
    members = [member for member in operation.members if accepted(operation, member)]
    always = {"RenameObject": {"ClientToken"}}.get(operation.name, set())
    minimal = {m.name: full_value(m, 0) for m in members if m.required or m.name in always}
    full = {m.name: full_value(m, index) for index, m in enumerate(members)}

    def hard(endpoint: dict, seed: int) -> dict:
        return {m.name: hard_value(m, index, seed, endpoint) for index, m in enumerate(members)}

    yield "minimal", AWS, SESSION_TOKEN, 900, minimal
    yield "full", AWS, SESSION_TOKEN, 604800, full
    yield "hard on AWS", AWS, SESSION_TOKEN, 1, hard(AWS, seed)
    yield "hard with path style", STORE, SESSION_TOKEN, 43200, hard(STORE, seed + 5)
    if operation.name == "GetObject":
        yield "without a session token", AWS, None, 900, minimal
        for key in HARD_KEYS + PATTERN_KEYS:
            yield f"key {json.dumps(key)}", AWS, SESSION_TOKEN, 900, {**minimal, "Key": key}


def json_name(field: str) -> str:
    """The name of a field in protobuf's JSON form."""
    return re.sub(r"_([a-z0-9])", lambda match: match.group(1).upper(), field)


def request(operation: model.Operation, values: dict) -> dict:
    """The JSON form of presignd.v1.Command."""
    fields = {}
    for member in operation.members:
        if member.name in values:
            value = values[member.name]
            fields[json_name(member.field)] = str(value) if member.type == "long" else value
    return {json_name(operation.field): fields}


def parameters(operation: model.Operation, values: dict) -> dict:
    """The same values as botocore takes them."""
    types = {member.name: member.type for member in operation.members}
    result = {}
    for name, value in values.items():
        result[name] = instant(value) if types[name] == "timestamp" else value
        if name == "RenameSource":
            result[name] = quote(value, safe="/-._~")
    return result


def difference(operation: model.Operation, endpoint: dict) -> str | None:
    """Why botocore's answer is not what S3's rules ask for."""
    if operation.name == "GetBucketLocation" and not endpoint["path_style"]:
        return "botocore uses path style for GetBucketLocation, whatever is set; the bucket belongs in the host"
    if operation.name == "WriteGetObjectResponse" and endpoint["url"]:
        return "botocore puts the route before an endpoint of one's own, even if it is an IP address"
    return None


def verify(operation: model.Operation, endpoint: dict, values: dict, url: str) -> None:
    """The host and the start of the path are what S3's rules ask for."""
    parts = urlsplit(url)
    bucket = values.get("Bucket")
    if endpoint["url"]:
        host, start = urlsplit(endpoint["url"]).netloc, f"/{bucket}" if bucket else "/"
    else:
        host = {
            "ListDirectoryBuckets": f"s3express-control.{REGION}.amazonaws.com",
            "WriteGetObjectResponse": f"{values.get('RequestRoute')}.s3-object-lambda.{REGION}.amazonaws.com",
        }.get(operation.name, f"{bucket + '.' if bucket else ''}s3.{REGION}.amazonaws.com")
        start = "/"
    if (parts.netloc != host or not parts.path.startswith(start)) != (difference(operation, endpoint) is not None):
        raise SystemExit(f"{operation.name}: an unexplained difference: {url}")


def cases(operation: model.Operation, seed: int, clients: dict, recorder: Recorder) -> list[dict]:
    """What botocore signs for every case of an operation."""
    result = []
    for name, endpoint, session_token, expires_in, values in inputs(operation, seed):
        client = clients[endpoint["path_style"], session_token]
        operation_model = client.meta.service_model.operation_model(operation.name)
        url = client.generate_presigned_url(
            operation.field, {**body(operation_model), **parameters(operation, values)}, ExpiresIn=expires_in
        )
        verify(operation, endpoint, values, url)
        case = {
            "name": name,
            "endpoint": endpoint,
            "region": REGION,
            "access_key_id": ACCESS_KEY_ID,
            "secret_access_key": SECRET_ACCESS_KEY,
            "session_token": session_token,
            "time": NOW.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "expires_in": expires_in,
            "request": request(operation, values),
            "method": recorder.method,
            "headers": recorder.headers,
            "canonical_request": recorder.canonical_request,
            "string_to_sign": recorder.string_to_sign,
            "url": url,
        }
        reason = difference(operation, endpoint)
        if reason:
            case["differs"] = reason
        result.append(case)
    return result


def outputs() -> dict[pathlib.Path, str]:
    """Every vector file with its text."""
    # What the machine has configured for AWS does not count.
    for variable in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[variable]
    os.environ["AWS_CONFIG_FILE"] = os.environ["AWS_SHARED_CREDENTIALS_FILE"] = os.devnull
    botocore.auth._get_body_as_dict = lambda request: {}
    botocore.auth.get_current_datetime = lambda *_, **__: NOW
    recorder = Recorder()
    clients = {
        (endpoint["path_style"], token): patched_client(endpoint, token)
        for endpoint in (AWS, STORE)
        for token in (SESSION_TOKEN, None)
    }
    return {
        VECTORS / f"{operation.name}.json": json.dumps(cases(operation, seed, clients, recorder), indent=1) + "\n"
        for seed, operation in enumerate(model.load())
    }


def main() -> int:
    """Writes or checks the vectors."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a file would change")
    arguments = parser.parse_args()
    files = outputs()
    drifted = [path for path, content in files.items() if not path.exists() or path.read_text() != content]
    stale = [path for path in sorted(VECTORS.glob("*.json")) if path not in files]
    for path in drifted + stale:
        if arguments.check:
            print(f"{path.relative_to(ROOT)}: differs; run tools/commands/vectors.py", file=sys.stderr)
        elif path in files:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(files[path])
        else:
            path.unlink()
    return 1 if arguments.check and drifted + stale else 0


if __name__ == "__main__":
    sys.exit(main())
