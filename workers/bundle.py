"""Find a bundle on the shelves and make sure that it is what its manifest says."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from contract.bundle import MANIFEST_NAME, SCHEMA_VERSION, BundleManifest
from contract.errors import BundleInvalid, BundleNotFound
from contract.request import BundleReference


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """A bundle folder whose manifest could be read."""

    folder: Path
    manifest: BundleManifest
    sha256: str
    """Of manifest.json."""

    @property
    def reference(self) -> BundleReference:
        """What products and reports quote."""
        manifest = self.manifest
        return BundleReference(name=manifest.name, version=manifest.version, kind=manifest.kind, sha256=self.sha256)


def find_bundle(name: str, shelves: Sequence[Path]) -> Bundle:
    """The bundle at a path, or of that folder name on the first shelf that has it.

    Raises:
        BundleNotFound: No manifest.json there.
        BundleInvalid: The manifest cannot be read.
    """
    candidates = [Path(name).expanduser(), *(shelf / name for shelf in shelves)]
    for folder in candidates:
        if (folder / MANIFEST_NAME).is_file():
            return _open_bundle(folder)
    raise BundleNotFound(name, tuple(str(folder) for folder in candidates))


def verify_bundle(bundle: Bundle) -> None:
    """Compare every file with the manifest's size and checksum.

    Raises:
        BundleInvalid: A file is missing or is not the one that was bundled.
    """
    for file in bundle.manifest.files:
        path = bundle.folder / file.path
        if not path.is_file():
            raise BundleInvalid(str(bundle.folder), f"{file.path} is missing")
        found = sha256_of(path)
        if found != file.sha256:
            raise BundleInvalid(
                str(bundle.folder), f"{file.path} has sha256 {found}, the manifest says {file.sha256}; fetch it again"
            )


def sha256_of(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _open_bundle(folder: Path) -> Bundle:
    content = (folder / MANIFEST_NAME).read_bytes()
    try:
        manifest = BundleManifest.model_validate_json(content)
    except ValidationError as error:
        raise BundleInvalid(str(folder), f"{MANIFEST_NAME}: {_fault(error)}") from error
    return Bundle(folder=folder, manifest=manifest, sha256=hashlib.sha256(content).hexdigest())


def _fault(error: ValidationError) -> str:
    """Of another schema version, that alone: what else is wrong follows from it."""
    faults = error.errors()
    for fault in faults:
        if fault["loc"] == ("schema_version",):
            return (
                f"schema_version is {fault['input']!r}, this landsigma reads {SCHEMA_VERSION}; update landsigma, or export "
                "the bundle again"
            )
    place = ".".join(str(part) for part in faults[0]["loc"]) or "the manifest"
    return f"{place}: {faults[0]['msg']}"
