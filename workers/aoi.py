"""The area of interest: what was asked for, as a valid MultiPolygon in longitude and latitude."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import shapely
from shapely import MultiPolygon, Polygon
from shapely.errors import GEOSException

from contract.errors import AoiEmpty, AoiInvalid, AoiTooLarge
from contract.scene import Area, Ring
from workers.aoi_formats import abridged, read_outline
from workers.lonlat import ANTIMERIDIAN_DEG, LONLAT, POLE_DEG, cut, polygons_in, reprojected, unwrapped

EQUAL_AREA: Final = "EPSG:6933"
"""Cylindrical equal-area on WGS 84: areas are exact on the ellipsoid, and poles and antimeridian need no care."""
AREA_STEP_DEG: Final = 0.01
SMALLEST_KM2: Final = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Aoi:
    """An area of interest that can be mapped."""

    geometry: MultiPolygon
    """Longitude, latitude in degrees; valid, shells counterclockwise, cut at the antimeridian (RFC 7946)."""
    area_km2: float
    """On the WGS 84 ellipsoid, edges straight in longitude and latitude."""
    notices: tuple[str, ...]
    """What was changed or assumed while reading it."""

    def area(self) -> Area:
        """The same as a record."""
        return area_of(self.geometry)


def read_aoi(given: str, *, max_area_km2: float) -> Aoi:
    """The area of interest in a file, in standard input ('-') or in the text itself.

    Formats: GeoJSON; WKT, also with a leading `SRID=32633;`; a bbox `west,south,east,north`, over the antimeridian where
    west > east; GeoPackage, Shapefile and FlatGeobuf files. Several polygons are united. Broken rings are repaired with
    a notice.

    Raises:
        AoiUnreadable: In no format that is read, or without polygons.
        AoiWrongCrs: Coordinates are not degrees, and no readable CRS says what they are.
        AoiAxesSwapped: Latitude comes first.
        AoiInvalid: A ring is broken beyond repair.
        AoiEmpty: Less than a square metre is enclosed.
        AoiTooLarge: More than `max_area_km2` is enclosed.
    """
    outline = read_outline(given)
    polygons = [unwrapped(polygon) for polygon in outline.polygons]
    pieces = [cut(polygon) for polygon in _repaired(polygons)]
    geometry = MultiPolygon(polygons_in(shapely.unary_union(pieces)))
    geometry = shapely.orient_polygons(geometry)
    area_km2 = _area_km2(geometry)
    if area_km2 < SMALLEST_KM2:
        raise AoiEmpty(abridged(given))
    if area_km2 > max_area_km2:
        raise AoiTooLarge(area_km2, max_area_km2)
    notices = (*outline.notices, *_turn_notices(polygons), *_repair_notices(polygons))
    return Aoi(geometry=geometry, area_km2=area_km2, notices=notices)


def geometry_of(area: Area) -> MultiPolygon:
    """The record as a shapely geometry in longitude and latitude."""
    return MultiPolygon([(rings[0], rings[1:]) for rings in area.coordinates])


def area_of(geometry: MultiPolygon) -> Area:
    """The geometry as a record, shells counterclockwise."""
    return Area(coordinates=tuple(_rings(part) for part in shapely.orient_polygons(geometry).geoms))


def _rings(polygon: Polygon) -> tuple[Ring, ...]:
    return tuple(tuple((x, y) for x, y in ring.coords) for ring in (polygon.exterior, *polygon.interiors))


def _repaired(polygons: Sequence[Polygon]) -> Iterator[Polygon]:
    for polygon in polygons:
        try:
            yield from polygons_in(shapely.make_valid(polygon, method="structure", keep_collapsed=False))
        except GEOSException as error:
            reason, lon_deg, lat_deg = _flaw(polygon)
            raise AoiInvalid(reason, lon_deg, lat_deg) from error


def _flaw(polygon: Polygon) -> tuple[str, float, float]:
    """What is wrong with a polygon, at which longitude and latitude."""
    reason, _, place = shapely.is_valid_reason(polygon).rstrip("]").partition("[")
    lon_deg, lat_deg = (float(number) for number in place.split())
    return reason, (lon_deg + 180) % 360 - 180, lat_deg


def _repair_notices(polygons: Sequence[Polygon]) -> Iterator[str]:
    broken = [polygon for polygon in polygons if not polygon.is_valid]
    if broken:
        reason, lon_deg, lat_deg = _flaw(broken[0])
        yield (
            f"{len(broken)} of {len(polygons)} polygons were invalid and are repaired; the first: "
            f"{reason} near lon {lon_deg:.6f}, lat {lat_deg:.6f}"
        )


def _turn_notices(polygons: Sequence[Polygon]) -> Iterator[str]:
    bounds = [polygon.bounds for polygon in polygons]
    beyond = [(west, east) for west, _, east, _ in bounds if max(-west, east) > ANTIMERIDIAN_DEG]
    if any(west < meridian < east for west, east in beyond for meridian in (-ANTIMERIDIAN_DEG, ANTIMERIDIAN_DEG)):
        yield "the area is taken to cross the antimeridian, and is cut there"
    elif beyond:
        yield "longitudes outside -180..180 degrees are turned by 360 degrees"
    if any(max(-south, north) == POLE_DEG for _, south, _, north in bounds):
        yield "the area is taken to enclose or touch a pole"


def _area_km2(geometry: MultiPolygon) -> float:
    return reprojected(shapely.segmentize(geometry, AREA_STEP_DEG), LONLAT, EQUAL_AREA).area / 1e6
