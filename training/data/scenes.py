"""StacScene: one item of a static STAC catalogue on disk, as far as training reads it."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pystac
from shapely.geometry import shape
from shapely.geometry.base import BaseGeometry

from contract.bands import SCL, SENTINEL2_OFFSET, SENTINEL2_OFFSET_BASELINE, Modality
from contract.errors import ArchiveInvalid
from training.data.sample import BandChoice

KIND: Final = "stac"
COLLECTIONS: Final = {Modality.S2: "sentinel-2-l2a", Modality.S1: "sentinel-1-rtc"}
"""Planetary Computer's collections; its asset keys are B02 and SCL, and vv."""
GRID_BAND: Final = "B02"
"""One of the 10 m bands, whose grid is that of a Sentinel-2 scene."""

_CATALOGUE: Final = "catalog.json"
_TILE: Final = re.compile(r"(?:^|MGRS-|_T)(\d{1,2}[C-X][A-Z]{2})(?:_|$)")
_BASELINE: Final = re.compile(r"(\d{1,2})\.(\d{1,2})")
_TEST_BASELINE: Final = 99
"""Sen2Cor runs outside ESA call their baseline 99.99, which says nothing about the numbers."""
_OFFSET_SINCE: Final = datetime(2022, 1, 25, tzinfo=UTC)
"""Baseline 04.00 became operational."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StacScene:
    """One acquisition of one sensor."""

    name: str
    taken: datetime
    outline: BaseGeometry
    """In degrees of WGS 84; in parts where it crosses the antimeridian."""
    files: Mapping[str, Path]
    """The file of each band, and of SCL where there is one."""
    offset: float
    """Reflectance of digital number 0; 0 for radar."""
    tile: str | None
    """MGRS tile, as T33TWL."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StacContents:
    """What a catalogue holds."""

    name: str
    licence: str
    scenes: Mapping[Modality, Sequence[StacScene]]
    """In the order of time."""


def read_contents(path: Path, bands: BandChoice) -> StacContents:
    """The scenes of a catalogue, a collection or an item collection.

    Args:
        path: Its JSON file, or the folder of a catalog.json.
        bands: Those that every scene needs to have.

    Raises:
        ArchiveInvalid: It is no STAC, a file is not on disk, or an item lacks what is needed of it.
    """
    document = path if path.is_file() else path / _CATALOGUE
    try:
        name, items = _items(document)
        licences = {collection.license for item in items if (collection := item.get_collection())}
    except (OSError, ValueError, KeyError, pystac.STACError, pystac.STACTypeError) as error:
        raise ArchiveInvalid(str(path), KIND, f"{document} cannot be read as STAC: {error}") from error
    wanted = {
        Modality.S2: {band: band for band in (GRID_BAND, *bands.s2)},
        Modality.S1: {band: band.lower() for band in bands.s1},
    }
    scenes = {
        modality: sorted(
            (_scene(path, item, wanted[modality]) for item in items if item.collection_id == collection),
            key=lambda scene: scene.taken,
        )
        for modality, collection in COLLECTIONS.items()
    }
    return StacContents(name=name, licence=", ".join(sorted(licences)) or "not stated", scenes=scenes)


def _items(document: Path) -> tuple[str, list[pystac.Item]]:
    """What the document calls itself, and its items."""
    if json.loads(document.read_text(encoding="utf-8")).get("type") != "FeatureCollection":
        catalogue = pystac.read_file(document)
        if not isinstance(catalogue, pystac.Catalog):  # of which a collection is one
            raise ValueError(f"a lone {type(catalogue).__name__.lower()}")
        return catalogue.id, list(catalogue.get_items(recursive=True))
    items = list(pystac.ItemCollection.from_file(str(document)))
    for item in items:
        if item.get_self_href() is None:
            item.set_self_href(str(document))
    return document.stem, items


def _scene(path: Path, item: pystac.Item, keys: Mapping[str, str]) -> StacScene:
    taken = item.datetime or item.common_metadata.start_datetime
    missing = [key for key in keys.values() if key not in item.assets]
    if taken is None or item.geometry is None or missing:
        lacks = ", ".join(missing) or "a datetime or a geometry"
        raise ArchiveInvalid(str(path), KIND, f"item {item.id} has no {lacks}")
    taken = taken.replace(tzinfo=taken.tzinfo or UTC)
    with_classes = {**keys, SCL: SCL} if SCL in item.assets else keys
    return StacScene(
        name=item.id,
        taken=taken,
        outline=shape(item.geometry),
        files={band: _file(path, item, key) for band, key in with_classes.items()},
        offset=_offset(item, taken),
        tile=_tile(item),
    )


def _file(path: Path, item: pystac.Item, key: str) -> Path:
    href = item.assets[key].get_absolute_href() or item.assets[key].href
    if "://" in href:
        raise ArchiveInvalid(str(path), KIND, f"asset {key} of item {item.id} is at {href}; need a file on this disk")
    return Path(href)


def _offset(item: pystac.Item, taken: datetime) -> float:
    """In the order of trust: applied already, as Earth Search does; the baseline; the day where that is unknown."""
    if item.collection_id != COLLECTIONS[Modality.S2] or item.properties.get("earthsearch:boa_offset_applied"):
        return 0.0
    match = _BASELINE.fullmatch(str(item.properties.get("s2:processing_baseline")))
    if match and int(match[1]) != _TEST_BASELINE:
        return SENTINEL2_OFFSET if (int(match[1]), int(match[2])) >= SENTINEL2_OFFSET_BASELINE else 0.0
    return SENTINEL2_OFFSET if taken >= _OFFSET_SINCE else 0.0


def _tile(item: pystac.Item) -> str | None:
    spellings: Iterable[str | None] = (item.properties.get("s2:mgrs_tile"), item.properties.get("grid:code"), item.id)
    found = (_TILE.search(spelled) for spelled in spellings if spelled)
    return next((f"T{match[1].zfill(5)}" for match in found if match), None)
