"""Bundles that a job may name, with their cards."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Request, Response
from pydantic import ConfigDict, ValidationError

from contract.bundle import MANIFEST_NAME, BundleManifest
from contract.keys import Scope
from service.access import needs
from service.addresses import JSON, Addresses, Link, addresses
from service.message import Message
from service.problems import Refused
from service.responses import content, refusals

MARKDOWN: Final = "text/markdown"
SHIPPED: Final = Path(__file__).resolve().parent.parent / "deploy" / "models"
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
router = APIRouter(tags=["bundles"], dependencies=[Depends(needs(Scope.READ))])


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


class BundleSummary(Message):
    """What a bundle is."""

    name: str
    """As a job names it."""
    version: str
    kind: str
    """"rules" and "identity" make no claim of accuracy."""
    description: str
    licence: str
    sha256: str
    """Of its manifest."""
    resolution_m: float
    modalities: tuple[str, ...]
    """Sensors that it eats."""
    outputs: tuple[str, ...]
    classes: tuple[str, ...]
    card: str | None = None
    """Model card, Markdown."""
    links: tuple[Link, ...]


class BundleList(Message):
    """The bundles of this server."""

    bundles: tuple[BundleSummary, ...]
    links: tuple[Link, ...]


class DescribedBundle(Message):
    """A bundle with its whole manifest."""

    model_config = ConfigDict(protected_namespaces=())

    name: str
    manifest: BundleManifest
    links: tuple[Link, ...]


@router.get("/bundles", operation_id="listBundles", response_model_exclude_none=True, responses=refusals(401, 403))
def list_bundles(request: Request, urls: Annotated[Addresses, Depends(addresses)]) -> BundleList:
    """The bundles that a job may name, each with its model card."""
    shelves: Shelves = request.app.state.parts.shelves
    return BundleList(
        bundles=tuple(_summary(name, bundle, urls) for name, bundle in sorted(shelves.bundles().items())),
        links=(Link(href=urls.of("/bundles"), rel="self", type=JSON),),
    )


@router.get(
    "/bundles/{name}",
    operation_id="describeBundle",
    response_model_exclude_none=True,
    responses=refusals(401, 403, 404),
)
def describe_bundle(name: str, request: Request, urls: Annotated[Addresses, Depends(addresses)]) -> DescribedBundle:
    """One bundle: what it eats, what it gives, its legend and its calibration."""
    bundle = request.app.state.parts.shelves.find(name, "path.name", 404)
    return DescribedBundle(name=name, manifest=bundle.manifest, links=_links(name, bundle, urls))


@router.get(
    "/bundles/{name}/card",
    operation_id="bundleCard",
    response_class=Response,
    responses=content(MARKDOWN, {"type": "string"}) | refusals(401, 403, 404),
)
def bundle_card(name: str, request: Request) -> Response:
    """The model card of a bundle, Markdown."""
    bundle = request.app.state.parts.shelves.find(name, "path.name", 404)
    card = _card(bundle)
    if card is None:
        raise Refused(404, f"bundle {name!r} has no card", kind="card-not-found", field="path.name", value=name)
    return Response(card, media_type=MARKDOWN)


def _summary(name: str, bundle: ShelvedBundle, urls: Addresses) -> BundleSummary:
    manifest = bundle.manifest
    return BundleSummary(
        name=name,
        version=manifest.version,
        kind=manifest.kind,
        description=manifest.description,
        licence=manifest.licence,
        sha256=bundle.sha256,
        resolution_m=manifest.resolution_m,
        modalities=tuple(entry.modality.value for entry in manifest.inputs),
        outputs=tuple(entry.name for entry in manifest.outputs),
        classes=tuple(entry.name for entry in manifest.legend.classes),
        card=_card(bundle),
        links=_links(name, bundle, urls),
    )


def _card(bundle: ShelvedBundle) -> str | None:
    """None also where the file is not there: a manifest's paths stay inside its folder."""
    path = bundle.folder / bundle.manifest.card if bundle.manifest.card else None
    return path.read_text(encoding="utf-8") if path is not None and path.is_file() else None


def _links(name: str, bundle: ShelvedBundle, urls: Addresses) -> tuple[Link, ...]:
    own = Link(href=urls.of(f"/bundles/{name}"), rel="self", type=JSON)
    card = Link(href=urls.of(f"/bundles/{name}/card"), rel="describedby", type=MARKDOWN, title="Model card")
    return (own, card) if bundle.manifest.card else (own,)
