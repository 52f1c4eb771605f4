"""The S3 API as botocore's model describes it, reduced to what a presigned request needs.

Only members that travel in the URI, the query or a header are kept: a body is the client's business.
"""

import pathlib
from dataclasses import dataclass, field

import botocore
from botocore import xform_name
from botocore.loaders import Loader

BOTOCORE_VERSION = "1.44.5"

# Members whose text names another object as "bucket/key". The model does not say so.
OBJECT_REFERENCES = {"CopySource", "RenameSource"}

# Fields that are not members: the version inside the text of an object reference.
PSEUDO_FIELDS = {"copy_source.version_id": "copy_source"}


@dataclass(frozen=True)
class Member:
    """One member of an operation's input that travels outside the body."""

    name: str
    field: str
    location: str  # uri, querystring, header or headers
    wire_name: str
    type: str  # string, integer, long, boolean, timestamp, list or map
    timestamp_format: str | None  # rfc822 or iso8601
    required: bool
    sensitive: bool
    allowed_values: tuple[str, ...]
    object_reference: bool
    host_label: bool
    idempotency_token: bool
    minimum: int | None
    maximum: int | None


@dataclass(frozen=True)
class Operation:
    """One operation of the S3 API."""

    name: str
    field: str
    method: str
    request_uri: str
    path: str  # service, bucket, object or fixed
    fixed_path: str
    fixed_query: tuple[str, ...]
    body: str  # none, bytes, xml or json
    checksum_required: bool
    checksum_algorithm: str | None
    endpoint_parameters: tuple[str, ...]
    host_prefix: str
    deprecated: bool
    members: tuple[Member, ...] = field(default_factory=tuple)


def load() -> list[Operation]:
    """Every operation of S3, sorted by name."""
    if botocore.__version__ != BOTOCORE_VERSION:
        raise SystemExit(
            f"botocore is {botocore.__version__}, but the commands are made from {BOTOCORE_VERSION}: "
            "pip install -r tools/commands/requirements.txt"
        )
    # botocore's own files alone, with its corrections of the model: Expires is a timestamp. Models in the home directory do not count.
    data = pathlib.Path(botocore.__file__).parent / "data"
    loader = Loader(extra_search_paths=[str(data)], include_default_search_paths=False)
    model = loader.load_service_model("s3", "service-2")
    return [
        _operation(name, operation, model["shapes"])
        for name, operation in sorted(model["operations"].items())
    ]


def _operation(name: str, operation: dict, shapes: dict) -> Operation:
    uri, _, query = operation["http"]["requestUri"].partition("?")
    path = {"/": "service", "/{Bucket}": "bucket", "/{Bucket}/{Key+}": "object"}.get(uri, "fixed")
    if path == "fixed" and "{" in uri:
        raise SystemExit(f"{name}: no path form for {uri}")
    shape = shapes[operation["input"]["shape"]] if "input" in operation else {"members": {}}
    checksum = operation.get("httpChecksum", {})
    parameters = operation.get("staticContextParams", {})
    return Operation(
        name=name,
        field=xform_name(name),
        method=operation["http"]["method"],
        request_uri=operation["http"]["requestUri"],
        path=path,
        fixed_path=uri if path == "fixed" else "",
        fixed_query=tuple(query.split("&")) if query else (),
        body=_body(shape, shapes),
        checksum_required=checksum.get("requestChecksumRequired", False),
        checksum_algorithm=(
            xform_name(checksum["requestAlgorithmMember"])
            if "requestAlgorithmMember" in checksum
            else None
        ),
        endpoint_parameters=tuple(
            sorted(key for key, parameter in parameters.items() if parameter["value"] is True)
        ),
        host_prefix=operation.get("endpoint", {}).get("hostPrefix", ""),
        deprecated=operation.get("deprecated", False),
        members=tuple(
            _member(key, member, shape, shapes)
            for key, member in shape["members"].items()
            if "location" in member
        ),
    )


def _body(shape: dict, shapes: dict) -> str:
    payload = shape.get("payload")
    if payload is None:
        in_body = any("location" not in member for member in shape["members"].values())
        return "xml" if in_body else "none"
    # The one string that is a body is the bucket policy.
    kinds = {"structure": "xml", "blob": "bytes", "string": "json"}
    return kinds[shapes[shape["members"][payload]["shape"]]["type"]]


def _member(name: str, member: dict, shape: dict, shapes: dict) -> Member:
    target = shapes[member["shape"]]
    location = member["location"]
    wire_name = member.get("locationName", name)
    timestamp_format = None
    if target["type"] == "timestamp":
        default = {"header": "rfc822", "querystring": "iso8601"}[location]
        timestamp_format = member.get("timestampFormat", target.get("timestampFormat", default))
    values = shapes[target["member"]["shape"]] if target["type"] == "list" else target
    return Member(
        name=name,
        field=xform_name(name),
        location=location,
        wire_name=wire_name.lower() if location in ("header", "headers") else wire_name,
        type=target["type"],
        timestamp_format=timestamp_format,
        required=name in shape.get("required", ()),
        sensitive=target.get("sensitive", False) or member.get("sensitive", False),
        allowed_values=tuple(values.get("enum", ())),
        object_reference=name in OBJECT_REFERENCES,
        host_label=member.get("hostLabel", False),
        idempotency_token=member.get("idempotencyToken", False) or target.get("idempotencyToken", False),
        minimum=target.get("min"),
        maximum=target.get("max"),
    )
