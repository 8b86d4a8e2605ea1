"""Shelves of bundles: what a job may name, as far as its manifest tells."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from contract.bundle import MANIFEST_NAME, BundleManifest
from service.problems import Refused

SHIPPED: Final = Path(__file__).resolve().parent.parent / "deploy" / "models"
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class ShelvedBundle:
    """A bundle as the API sees it: what its manifest says. Workers verify its files."""

    folder: Path
    manifest: BundleManifest
    sha256: str
    """Of manifest.json."""


@dataclass(frozen=True, slots=True)
class Shelves:
    """Folders of bundles. A bundle is known by the name of its folder; the first shelf that has it wins."""

    folders: tuple[Path, ...]

    def bundles(self) -> dict[str, ShelvedBundle]:
        """Every bundle whose manifest can be read, by name."""
        found: dict[str, ShelvedBundle] = {}
        for folder in self._candidates():
            bundle = _bundle_in(folder)
            if bundle is not None and _NAME.fullmatch(folder.name):
                found.setdefault(folder.name, bundle)
        return found

    def find(self, name: str, field: str, status: int) -> ShelvedBundle:
        """The bundle of that name.

        Raises:
            Refused: There is none.
        """
        # A name with a slash or two dots in it would be a path.
        if _NAME.fullmatch(name):
            for shelf in self.folders:
                bundle = _bundle_in(shelf / name)
                if bundle is not None:
                    return bundle
        names = ", ".join(sorted(self.bundles())) or "none"
        detail = f"there is no bundle {name!r}; this server has {names}"
        raise Refused(status, detail, kind="bundle-not-found", field=field, value=name, limit=names)

    def _candidates(self) -> Iterator[Path]:
        for shelf in self.folders:
            if shelf.is_dir():
                yield from sorted(shelf.iterdir())


def _bundle_in(folder: Path) -> ShelvedBundle | None:
    try:
        return _read(folder, (folder / MANIFEST_NAME).stat().st_mtime_ns)
    except OSError:
        return None


@lru_cache(maxsize=256)
def _read(folder: Path, _changed_ns: int) -> ShelvedBundle | None:
    """None where the manifest cannot be read: `landsigma bundle` says why."""
    content = (folder / MANIFEST_NAME).read_bytes()
    try:
        manifest = BundleManifest.model_validate_json(content)
    except ValidationError:
        return None
    return ShelvedBundle(folder=folder, manifest=manifest, sha256=sha256(content).hexdigest())
