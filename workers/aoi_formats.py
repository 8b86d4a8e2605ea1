"""The formats an area of interest comes in: GeoJSON, WKT, bbox, GeoPackage, Shapefile, FlatGeobuf."""

import json
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyogrio
import shapely
from pyogrio.errors import DataSourceError
from pyproj import CRS
from pyproj.exceptions import CRSError, ProjError
from shapely import GeometryCollection, Polygon
from shapely.errors import GEOSException
from shapely.geometry.base import BaseGeometry

from contract.errors import AoiAxesSwapped, AoiEmpty, AoiUnreadable, AoiWrongCrs
from workers.lonlat import LONLAT, POLE_DEG, TURN_DEG, polygons_in, reprojected

VECTOR_FORMATS: Final = {".gpkg": b"SQLite format 3\0", ".shp": b"\0\0\x27\x0a", ".fgb": b"fgb"}
"""What files of each suffix begin with. GDAL goes by content alone, and would follow one that refers to another file or
address (OGR VRT)."""
WKT: Final = re.compile(
    r"(?:SRID=(\d+);)?\s*((?:(?:MULTI)?(?:POINT|LINESTRING|POLYGON)|GEOMETRYCOLLECTION)[\sZM]*(?:\(.*[\s\d)]|EMPTY))",
    re.IGNORECASE | re.DOTALL,
)
REPROJECTION_STEP_M: Final = 1000.0
"""Edges straight in a projected CRS bend in longitude and latitude; by less than 0.1 m within this length."""
LARGEST_COORDINATE_M: Final = 1e8
"""Above any projected CRS, false eastings with a zone prefix included."""
QUOTED_CHARACTERS: Final = 80
CLOSED: Final = "unclosed rings are closed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outline:
    """What was drawn, before it is repaired, cut and united."""

    polygons: tuple[Polygon, ...]
    """At least one. Longitude -360..360, latitude -90..90 in degrees, all finite; may be invalid."""
    notices: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Drawing:
    """Geometries as they were stored."""

    geometries: Sequence[BaseGeometry]
    crs: str | None = None
    notices: tuple[str, ...] = ()


def read_outline(given: str) -> Outline:
    """The polygons in a file, in standard input ('-') or in the text itself.

    Raises:
        AoiUnreadable: In no format that is read, or without polygons.
        AoiWrongCrs: Coordinates are not degrees, and no readable CRS says what they are.
        AoiAxesSwapped: Latitude comes first.
        AoiEmpty: There is nothing in it.
    """
    try:
        drawing = _drawing(given.strip())
        polygons, ignored = _polygons_of(drawing)
    except OSError as error:
        raise AoiUnreadable(abridged(given), error.strerror or str(error)) from error
    except (ValueError, GEOSException, DataSourceError) as error:
        raise AoiUnreadable(abridged(given), str(error)) from error
    if not polygons:
        raise AoiEmpty(abridged(given))
    lonlat, moved = _in_lonlat(polygons, drawing.crs)
    _check_degrees(lonlat, drawing.crs)
    return Outline(polygons=lonlat, notices=(*drawing.notices, *ignored, *moved))


def abridged(given: str) -> str:
    """The text as an error can quote it."""
    return given if len(given) <= QUOTED_CHARACTERS else f"{given[:QUOTED_CHARACTERS]}..."


# --- formats --------------------------------------------------------------------------------------------------------


def _drawing(given: str) -> _Drawing:
    if given == "-":
        return _from_text(sys.stdin.read().strip())
    if _is_text(given):
        return _from_text(given)
    path = Path(given)
    if not path.is_file():
        raise ValueError("it is neither a file nor text in one of the formats")
    if path.suffix.lower() in VECTOR_FORMATS:
        return _from_vector_file(path)
    return _from_text(path.read_text(encoding="utf-8-sig").strip())


def _is_text(given: str) -> bool:
    return given.startswith("{") or bool(WKT.fullmatch(given)) or _numbers(given) is not None


def _from_text(text: str) -> _Drawing:
    wkt, bbox = WKT.fullmatch(text), _numbers(text)
    if bbox is not None:
        return _Drawing(geometries=[_box(bbox)])
    if wkt is not None:
        srid, body = wkt.groups()
        return _from_wkt(body, crs=f"EPSG:{srid}" if srid else None)
    return _from_geojson(json.loads(text, parse_constant=_refuse_constant))


def _numbers(text: str) -> list[float] | None:
    """Numbers between commas, or None where there is anything else."""
    try:
        return [float(number) for number in text.split(",")]
    except ValueError:
        return None


def _box(numbers: list[float]) -> Polygon:
    if len(numbers) != 4:  # noqa: PLR2004 - west, south, east, north
        raise ValueError(f"a bbox has 4 numbers, west,south,east,north; this has {len(numbers)}")
    west, south, east, north = numbers
    if not np.isfinite(numbers).all():
        raise ValueError("a number of the bbox is not finite")
    if south > north:
        raise ValueError(f"its south {south:g} is above its north {north:g}")
    if west > east:
        west -= TURN_DEG
    # Edges of 180 degrees and more would read as going the other way round the Earth.
    lon = np.linspace(west, east, 2 if east - west < 180 else 5)  # noqa: PLR2004 - half a turn
    return Polygon([(x, south) for x in lon] + [(x, north) for x in lon[::-1]])


def _from_wkt(text: str, crs: str | None) -> _Drawing:
    if re.search(r"\b(nan|inf)", text, re.IGNORECASE):
        raise ValueError("a coordinate is not a finite number")
    try:
        with np.errstate(over="ignore"):  # becomes infinite, and is refused as such
            return _Drawing(geometries=[shapely.from_wkt(text)], crs=crs)
    except GEOSException:
        closed = shapely.from_wkt(text, on_invalid="fix")
        if closed is None:
            raise
        return _Drawing(geometries=[closed], crs=crs, notices=(CLOSED,))


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


def _from_geojson(document: Any) -> _Drawing:
    members = list(_geojson_members(document))
    closed = [member | {"coordinates": _closed(member["type"], member["coordinates"])} for member in members]
    return _Drawing(
        geometries=[shapely.from_geojson(json.dumps(member)) for member in closed],
        crs=_legacy_crs(document),
        notices=(CLOSED,) if closed != members else (),
    )


def _geojson_members(node: Any) -> Iterator[dict[str, Any]]:
    """Every geometry object with coordinates."""
    match node:
        case {"type": "FeatureCollection", "features": list(nodes)} | {
            "type": "GeometryCollection",
            "geometries": list(nodes),
        }:
            for inner in nodes:
                yield from _geojson_members(inner)
        case {"type": "Feature", "geometry": inner}:
            if inner is not None:
                yield from _geojson_members(inner)
        case {"type": str(kind), "coordinates": list(coordinates)}:
            yield {"type": kind, "coordinates": coordinates}
        case _:
            raise ValueError(f"{abridged(json.dumps(node))} is no GeoJSON object")


def _closed(kind: str, coordinates: list[Any]) -> list[Any]:
    """The coordinates of a geometry with every ring of it closed."""
    if kind == "MultiPolygon":
        return [_closed("Polygon", polygon) if isinstance(polygon, list) else polygon for polygon in coordinates]
    if kind == "Polygon":
        return [
            [*ring, ring[0]] if isinstance(ring, list) and ring and ring[0] != ring[-1] else ring
            for ring in coordinates
        ]
    return coordinates


def _legacy_crs(document: Any) -> str | None:
    """The CRS of GeoJSON 2008, which RFC 7946 dropped and many files still carry."""
    match document:
        case {"crs": {"type": "name", "properties": {"name": str(name)}}}:
            return name
        case {"crs": dict(crs)}:
            return json.dumps(crs)
        case _:
            return None


def _from_vector_file(path: Path) -> _Drawing:
    signature = VECTOR_FORMATS[path.suffix.lower()]
    with path.open("rb") as file:
        if file.read(len(signature)) != signature:
            raise ValueError(f"its content is not that of a {path.suffix.lower()} file")
    layers = [name for name, kind in pyogrio.list_layers(path) if kind is not None]
    if len(layers) != 1:
        raise ValueError(f"it holds {len(layers)} layers with geometry ({', '.join(layers)}); it must hold one")
    meta, _, encoded, _ = pyogrio.raw.read(path, layer=layers[0], columns=[])
    geometries = [shapely.from_wkb(wkb) for wkb in encoded if wkb is not None]
    notices = () if meta["crs"] else ("the file names no CRS; its coordinates are taken for longitude and latitude",)
    return _Drawing(geometries=geometries, crs=meta["crs"], notices=notices)


# --- coordinates ----------------------------------------------------------------------------------------------------


def _polygons_of(drawing: _Drawing) -> tuple[list[Polygon], tuple[str, ...]]:
    """The polygons, and a notice of what lies beside them."""
    parts = [part for geometry in drawing.geometries for part in _parts(geometry)]
    polygons = [polygon for part in parts for polygon in polygons_in(part)]
    others = ", ".join(sorted({part.geom_type for part in parts if not part.is_empty and not polygons_in(part)}))
    if others and not polygons:
        raise ValueError(f"it holds {others} and no polygon")
    if not np.isfinite(shapely.get_coordinates(polygons)).all():
        raise ValueError("a coordinate is not a finite number")
    return polygons, (f"{others} beside the polygons is left out",) if others else ()


def _parts(geometry: BaseGeometry) -> list[BaseGeometry]:
    """The geometry without collections round it."""
    if isinstance(geometry, GeometryCollection):
        return [part for inner in geometry.geoms for part in _parts(inner)]
    return [geometry]


def _in_lonlat(polygons: Sequence[Polygon], name: str | None) -> tuple[tuple[Polygon, ...], tuple[str, ...]]:
    """The polygons in longitude and latitude, and a notice where they were in another CRS."""
    if name is None:
        return tuple(polygons), ()
    coordinates = shapely.get_coordinates(polygons)
    unusable = AoiWrongCrs(float(coordinates[0, 0]), float(coordinates[0, 1]), name)
    try:
        crs = CRS.from_user_input(name)
        if crs.equals(LONLAT, ignore_axis_order=True):
            return tuple(polygons), ()
        if crs.is_projected:
            unit_m = crs.axis_info[0].unit_conversion_factor
            if np.abs(coordinates).max() * unit_m > LARGEST_COORDINATE_M:
                raise unusable
            polygons = [shapely.segmentize(polygon, REPROJECTION_STEP_M / unit_m) for polygon in polygons]
        lonlat = [part for polygon in polygons for part in polygons_in(reprojected(polygon, crs, LONLAT))]
    except (CRSError, ProjError) as error:
        raise unusable from error
    if not np.isfinite(shapely.get_coordinates(lonlat)).all():
        raise unusable
    return tuple(lonlat), (f"reprojected from {crs.name}",)


def _check_degrees(polygons: Sequence[Polygon], crs: str | None) -> None:
    coordinates = shapely.get_coordinates(polygons)
    broken = np.flatnonzero((np.abs(coordinates) > (TURN_DEG, POLE_DEG)).any(axis=1))
    if not broken.size:
        return
    x, y = (float(number) for number in coordinates[broken[0]])
    if (np.abs(coordinates) <= (POLE_DEG, TURN_DEG)).all():
        raise AoiAxesSwapped(x, y)
    raise AoiWrongCrs(x, y, crs or "none")
