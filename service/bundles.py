"""Bundles over HTTP: those that a job may name, with their cards."""

from typing import Final

from fastapi import APIRouter, Depends, Response
from pydantic import ConfigDict

from contract.bundle import BundleManifest
from contract.keys import Scope
from service.access import needs
from service.addresses import JSON, Addresses, Link, Urls
from service.message import Message
from service.parts import InUse
from service.problems import Refused
from service.responses import content, refusals
from service.shelves import ShelvedBundle

MARKDOWN: Final = "text/markdown"
router = APIRouter(tags=["bundles"], dependencies=[Depends(needs(Scope.READ))])


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
def list_bundles(parts: InUse, urls: Urls) -> BundleList:
    """The bundles that a job may name, each with its model card."""
    return BundleList(
        bundles=tuple(_summary(name, bundle, urls) for name, bundle in sorted(parts.shelves.bundles().items())),
        links=(Link(href=urls.of("/bundles"), rel="self", type=JSON),),
    )


@router.get(
    "/bundles/{name}",
    operation_id="describeBundle",
    response_model_exclude_none=True,
    responses=refusals(401, 403, 404),
)
def describe_bundle(name: str, parts: InUse, urls: Urls) -> DescribedBundle:
    """One bundle: what it eats, what it gives, its legend and its calibration."""
    bundle = parts.shelves.find(name, "path.name", 404)
    return DescribedBundle(name=name, manifest=bundle.manifest, links=_links(name, bundle, urls))


@router.get(
    "/bundles/{name}/card",
    operation_id="bundleCard",
    response_class=Response,
    responses=content(MARKDOWN, {"type": "string"}) | refusals(401, 403, 404),
)
def bundle_card(name: str, parts: InUse) -> Response:
    """The model card of a bundle, Markdown."""
    bundle = parts.shelves.find(name, "path.name", 404)
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
