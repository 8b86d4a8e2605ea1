"""Files that are complete or absent, also after a power cut."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from contract.request import Artifact
from workers.bundle import sha256_of
from workers.folder import ITEM_NAME, writing_to

_MEDIA_TYPES: Final = {
    ".tif": "image/tiff; application=geotiff; profile=cloud-optimized",
    ".png": "image/png",
    ".json": "application/json",
    ".xml": "application/xml",
    ".qml": "application/xml",
    ".qgs": "application/xml",
}


def write_file(path: Path, content: bytes) -> None:
    """Write a whole file at once.

    Raises:
        OutputNotWritable: The disk is full or read-only.
    """
    with unfinished(path) as temporary, writing_to(path):
        temporary.write_bytes(content)


@contextmanager
def unfinished(target: Path) -> Iterator[Path]:
    """A path to write to, in a folder of its own; what stands there when the block ends without error becomes `target`.

    Raises:
        OutputNotWritable: The disk is full or read-only.
    """
    with writing_to(target):
        folder = tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent, ignore_cleanup_errors=True)
    with folder as name:
        temporary = Path(name) / target.name
        yield temporary
        with writing_to(target):
            _flush(temporary)
            temporary.replace(target)
            _flush(target.parent)


def artifact(path: Path) -> Artifact:
    """The name, media type, checksum and size of a published file."""
    media_type = "application/geo+json" if path.name == ITEM_NAME else _MEDIA_TYPES[path.suffix]
    return Artifact(name=path.name, media_type=media_type, sha256=sha256_of(path), size_bytes=path.stat().st_size)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
