"""A bundle's folder: files with their checksums, and all of them or none."""

import hashlib
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import onnx

from contract.bundle import BANDS_KEY, MANIFEST_NAME, BundleFile, BundleManifest, ModelInput
from contract.errors import BundleExists

GRAPH_NAME: Final = "model.onnx"
READABLE: Final = 0o755
"""Of the folder: temporary ones are their owner's alone."""


@contextmanager
def unfinished(folder: Path) -> Iterator[Path]:
    """A folder to write to; it becomes `folder` when the block ends without error, and is gone otherwise.

    Raises:
        BundleExists: Something lies there already.
    """
    if folder.exists():
        raise BundleExists(str(folder))
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        yield temporary
        temporary.chmod(READABLE)
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_graph(folder: Path, model: onnx.ModelProto, path: str = GRAPH_NAME) -> BundleFile:
    """The manifest's entry of a graph, written to `folder` with bytes that do not change from run to run."""
    return write_file(folder, path, model.SerializeToString(deterministic=True))


def write_file(folder: Path, path: str, content: bytes) -> BundleFile:
    """The manifest's entry of a file of these bytes, written to `folder`."""
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    (folder / path).write_bytes(content)
    return BundleFile(path=path, sha256=hashlib.sha256(content).hexdigest(), size_bytes=len(content))


def write_manifest(folder: Path, manifest: BundleManifest) -> None:
    """Write manifest.json beside the files that it names."""
    (folder / MANIFEST_NAME).write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")


def name_bands(model: onnx.ModelProto, inputs: Sequence[ModelInput]) -> onnx.ModelProto:
    """The model, which now says itself which bands it was trained on."""
    bands = {BANDS_KEY.format(entry.name): ",".join(entry.bands) for entry in inputs}
    onnx.helper.set_model_props(model, bands)
    return model
