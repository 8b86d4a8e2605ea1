"""Small STAC items and requests, in the naming of the Planetary Computer."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from shapely import Polygon, box
from shapely.geometry import mapping
from shapely.geometry.base import BaseGeometry

from contract.bands import Modality
from contract.request import MapOptions, MapRequest
from contract.scene import Area

BOX = box(10, 50, 11, 51)
BANDS = {Modality.S2: ("B02", "B08"), Modality.S1: ("VV", "VH")}
JSON = dict[str, object]


def request(source: str | Path, *, area: Polygon | Area = BOX, options: MapOptions | None = None) -> MapRequest:
    """June 2023."""
    return MapRequest(
        area=area if isinstance(area, Area) else Area(coordinates=((tuple(area.exterior.coords),),)),
        start=datetime(2023, 6, 1, tzinfo=UTC),
        end=datetime(2023, 7, 1, tzinfo=UTC),
        source=str(source),
        bundle="any",
        options=options or MapOptions(),
    )


def s2_item(
    name: str = "optical",
    *,
    when: str = "2023-06-10T10:00:00Z",
    footprint: BaseGeometry = BOX,
    assets: Sequence[str] = ("B02", "B08", "SCL"),
    **properties: object,
) -> JSON:
    """Properties are given with `__` for the colon: s2__mgrs_tile."""
    given = {key.replace("__", ":"): value for key, value in properties.items()}
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": name,
        "collection": "sentinel-2-l2a",
        "geometry": mapping(footprint),
        "bbox": list(footprint.bounds),
        "properties": {"datetime": when, "platform": "Sentinel-2A", "s2:processing_baseline": "05.09", **given},
        "links": [],
        "assets": {key: {"href": f"https://example.org/{name}/{key}.tif"} for key in assets},
    }


def s1_item(
    name: str = "radar", *, when: str = "2023-06-12T17:00:00Z", footprint: BaseGeometry = BOX, **properties: object
) -> JSON:
    radar = {
        "platform": "SENTINEL-1A",
        "sar:instrument_mode": "IW",
        "sar:polarizations": ["VV", "VH"],
        "sar:product_type": "GRD",
        "proj:epsg": 32632,
        "sat:orbit_state": "ascending",
    }
    item = s2_item(name, when=when, footprint=footprint, assets=("vv", "vh"))
    given = {key.replace("__", ":"): value for key, value in properties.items()}
    return item | {"collection": "sentinel-1-rtc", "properties": {"datetime": when, **radar, **given}}


def write_items(folder: Path, *items: JSON) -> Path:
    path = folder / "items.json"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": items}))
    return path
