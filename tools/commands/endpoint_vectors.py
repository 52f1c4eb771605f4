#!/usr/bin/env python3
"""Writes tests/vectors/endpoints.json: where botocore sends a GetObject, by the endpoint's options and the kind of bucket.

    endpoint_vectors.py            write the vectors
    endpoint_vectors.py --check    exit 1 if what is checked in differs from what would be written

A row has `url`, or `refused` with the name of botocore's error. Left out, because botocore presigns them wrongly: access points of several
regions (it signs for them by headers' rules) and directory buckets (it takes the credentials of a session). So are combinations that
S3's rules refuse and botocore makes fit without a word: dual-stack and FIPS on another store, and path style for ARNs or with
acceleration.
"""

import argparse
import itertools
import json
import os
import sys

sys.dont_write_bytecode = True  # a check leaves nothing behind

import botocore.auth  # noqa: E402
import botocore.exceptions  # noqa: E402
import botocore.session  # noqa: E402
from botocore.config import Config  # noqa: E402

import vectors  # noqa: E402

FILE = vectors.ROOT / "tests/vectors/endpoints.json"
REGIONS = ["eu-west-1", "cn-north-1"]
STORES = [None, "https://store.example:8443"]
BUCKETS = [
    "acme-files",
    "dotted.acme.files",
    "arn:aws:s3:eu-west-1:111122223333:accesspoint/media",
    "arn:aws:s3:us-east-1:111122223333:accesspoint/media",
    "arn:aws:s3-object-lambda:eu-west-1:111122223333:accesspoint/small",
    "arn:aws:s3-outposts:eu-west-1:111122223333:outpost/op-01ac5d28a6a232904/accesspoint/here",
]


def row(session, region: str, url: str | None, path_style: bool, options: tuple[bool, bool, bool], bucket: str) -> dict:
    """What botocore makes of one combination."""
    dual_stack, fips, accelerate = options
    settings = {
        "region": region,
        "endpoint_url": url,
        "path_style": path_style,
        "dual_stack": dual_stack,
        "fips": fips,
        "accelerate": accelerate,
        "bucket": bucket,
    }
    client = session.create_client(
        "s3",
        region_name=region,
        endpoint_url=url,
        config=Config(
            signature_version="s3v4",
            use_dualstack_endpoint=dual_stack,
            use_fips_endpoint=fips,
            s3={
                "use_accelerate_endpoint": accelerate,
                "addressing_style": "path" if path_style else "virtual",
                "use_arn_region": False,
            },
        ),
    )
    try:
        signed = client.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "a b/é.pdf"}, ExpiresIn=900)
    except botocore.exceptions.BotoCoreError as error:
        return settings | {"refused": type(error).__name__}
    return settings | {"url": signed}


def main() -> int:
    """Writes or checks the vectors."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if the file would change")
    arguments = parser.parse_args()
    botocore.auth.get_current_datetime = lambda *_, **__: vectors.NOW
    # What the machine has configured for AWS does not count.
    for variable in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[variable]
    os.environ["AWS_CONFIG_FILE"] = os.environ["AWS_SHARED_CREDENTIALS_FILE"] = os.devnull
    session = botocore.session.Session()
    session.set_credentials(vectors.ACCESS_KEY_ID, vectors.SECRET_ACCESS_KEY, vectors.SESSION_TOKEN)
    flags = [False, True]
    options = list(itertools.product(flags, flags, flags))
    rows = [
        row(session, region, url, path_style, chosen, bucket)
        for region, url, path_style, chosen, bucket in itertools.product(REGIONS, STORES, flags, options, BUCKETS)
        if not (url and (chosen[0] or chosen[1])) and not (path_style and (chosen[2] or bucket.startswith("arn:")))
    ]
    text = "[\n" + ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n]\n"
    if FILE.exists() and FILE.read_text() == text:
        return 0
    if arguments.check:
        print(f"{FILE.relative_to(vectors.ROOT)}: differs; run tools/commands/endpoint_vectors.py", file=sys.stderr)
        return 1
    FILE.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
