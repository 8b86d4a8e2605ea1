"""The area of a request: GeoJSON or a bounding box, checked for what is cheap to see, and measured.

Where `landsigma map` repairs what people give it, this refuses: a program that sends broken rings is better told.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Final, Literal

import numpy as np
import shapely
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag
from shapely import MultiPolygon, Polygon

from contract.errors import AoiAxesSwapped, AoiEmpty, AoiInvalid, AoiWrongCrs
from contract.scene import Area, Ring
from service.message import Message
from service.problems import Refused

CRS84: Final = "http://www.opengis.net/def/crs/OGC/1.3/CRS84"
GEOJSON: Final = "application/geo+json"
ANTIMERIDIAN_DEG: Final = 180
POLE_DEG: Final = 90
SMALLEST_KM2: Final = 1e-6
# WGS 84.
_EQUATOR_M: Final = 6378137.0
_ECCENTRICITY: Final = 0.0818191908426215
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(16)
"""Of Gauss-Legendre integration along an edge: areas are exact to 1e-9 also where an edge goes from pole to pole."""

Number = Annotated[float, Field(allow_inf_nan=False)]
Place = Annotated[list[Number], Field(min_length=2, max_length=3)]
"""Longitude, latitude and perhaps height; the height is not used."""
Loop = Annotated[list[Place], Field(min_length=4)]
Loops = Annotated[list[Loop], Field(min_length=1)]


class _GeoJson(BaseModel):
    """GeoJSON (RFC 7946), which may carry members that nobody asked for."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class PolygonGeometry(_GeoJson):
    """A polygon: its shell, then its holes."""

    type: Literal["Polygon"]
    coordinates: Loops

    def polygons(self) -> Iterator[Loops]:
        """Rings of every polygon."""
        yield self.coordinates


class MultiPolygonGeometry(_GeoJson):
    """Several polygons."""

    type: Literal["MultiPolygon"]
    coordinates: Annotated[list[Loops], Field(min_length=1)]

    def polygons(self) -> Iterator[Loops]:
        """Rings of every polygon."""
        yield from self.coordinates


Geometry = Annotated[PolygonGeometry | MultiPolygonGeometry, Field(discriminator="type")]


class Feature(_GeoJson):
    """A polygon with properties, which are not used."""

    type: Literal["Feature"]
    geometry: Geometry

    def polygons(self) -> Iterator[Loops]:
        """Rings of every polygon."""
        yield from self.geometry.polygons()


class FeatureCollection(_GeoJson):
    """Several features, which are united."""

    type: Literal["FeatureCollection"]
    features: Annotated[list[Feature], Field(min_length=1)]

    def polygons(self) -> Iterator[Loops]:
        """Rings of every polygon."""
        for feature in self.features:
            yield from feature.polygons()


GeoJson = Annotated[PolygonGeometry | MultiPolygonGeometry | Feature | FeatureCollection, Field(discriminator="type")]


class BoundingBox(Message):
    """A box in longitude and latitude, over the antimeridian where west > east."""

    bbox: Annotated[list[Number], Field(min_length=4, max_length=4)]
    """West, south, east, north."""
    crs: Literal["http://www.opengis.net/def/crs/OGC/1.3/CRS84"] = CRS84

    def polygons(self) -> Iterator[Loops]:
        """One box, or two: on both sides of the antimeridian, and of Greenwich where an edge could go either way."""
        west, south, east, north = self.bbox
        parts = [(west, east)] if west <= east else [(west, ANTIMERIDIAN_DEG), (-ANTIMERIDIAN_DEG, east)]
        for left, right in parts:
            cuts = [left, 0, right] if right - left > ANTIMERIDIAN_DEG else [left, right]
            for first, last in pairwise(cuts):
                yield [[[first, south], [last, south], [last, north], [first, north], [first, south]]]


class QualifiedArea(Message):
    """The same with its media type beside it, as OGC API - Processes wants objects to be given."""

    value: GeoJson
    media_type: Literal["application/geo+json"] = Field(default=GEOJSON, alias="mediaType")

    def polygons(self) -> Iterator[Loops]:
        """Rings of every polygon."""
        yield from self.value.polygons()


def _form(given: object) -> str | None:
    """Which of the forms it is meant to be, so that a refusal speaks of that one alone."""
    if not isinstance(given, dict):
        return None
    return next((form for form in ("value", "bbox") if form in given and "type" not in given), str(given.get("type")))


GivenArea = Annotated[
    Annotated[PolygonGeometry, Tag("Polygon")]
    | Annotated[MultiPolygonGeometry, Tag("MultiPolygon")]
    | Annotated[Feature, Tag("Feature")]
    | Annotated[FeatureCollection, Tag("FeatureCollection")]
    | Annotated[BoundingBox, Tag("bbox")]
    | Annotated[QualifiedArea, Tag("value")],
    Discriminator(_form),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredArea:
    """An area that can be mapped."""

    geometry: MultiPolygon
    """Longitude, latitude in degrees."""
    area_km2: float
    """On the WGS 84 ellipsoid, edges straight in longitude and latitude."""

    def record(self) -> Area:
        """The same as a record."""
        return Area(coordinates=tuple(_rings(part) for part in self.geometry.geoms))


def measured(given: GivenArea, *, limit_km2: float | None) -> MeasuredArea:
    """What was given, as valid polygons that do not overlap.

    Raises:
        AoiError: It is no valid area in longitude and latitude, or encloses none.
        Refused: It is larger than the limit.
    """
    geometry = outline(given)
    area_km2 = sum(_ring_km2(ring) for ring in shapely.get_rings(shapely.get_parts(geometry)))
    if area_km2 < SMALLEST_KM2:
        raise AoiEmpty("inputs.area")
    if limit_km2 is not None and area_km2 > limit_km2:
        raise Refused(
            422,
            f"the area covers {area_km2:,.1f} km2; one job maps at most {limit_km2:,.1f} km2. Cut it into parts",
            kind="aoi-too-large",
            field="inputs.area",
            value=round(area_km2, 3),
            limit=limit_km2,
        )
    return MeasuredArea(geometry=geometry, area_km2=area_km2)


def outline(given: GivenArea) -> MultiPolygon:
    """What was given, as valid polygons that do not overlap: shells counterclockwise.

    Raises:
        AoiError: It is no valid area in longitude and latitude.
    """
    return _united([_polygon(loops) for loops in given.polygons()])


def _polygon(loops: Loops) -> Polygon:
    for loop in loops:
        _check(np.array([place[:2] for place in loop]))
    polygon = Polygon([place[:2] for place in loops[0]], [[place[:2] for place in hole] for hole in loops[1:]])
    if not polygon.is_valid:
        reason, _, place = shapely.is_valid_reason(polygon).rstrip("]").partition("[")
        lon_deg, lat_deg = (float(number) for number in place.split())
        raise AoiInvalid(reason, lon_deg, lat_deg)
    return polygon


def _check(loop: NDArray[np.float64]) -> None:
    """Degrees, longitude first, and no edge that could go either way round the Earth."""
    west, south = loop.min(axis=0)
    east, north = loop.max(axis=0)
    x, y = map(float, loop[np.abs(loop).max(axis=1).argmax()])
    if max(-west, east) > ANTIMERIDIAN_DEG:
        raise AoiWrongCrs(x, y, "longitude and latitude, as GeoJSON has it")
    if max(-south, north) > POLE_DEG:
        raise AoiAxesSwapped(x, y)
    edges = np.abs(np.diff(loop[:, 0]))
    if edges.max() > ANTIMERIDIAN_DEG:
        lon_deg, lat_deg = map(float, loop[edges.argmax()])
        reason = "an edge spans more than 180 degrees of longitude (cut areas at the antimeridian, RFC 7946, 3.1.9)"
        raise AoiInvalid(reason, lon_deg, lat_deg)


def _united(polygons: Sequence[Polygon]) -> MultiPolygon:
    union = shapely.unary_union(polygons)
    parts = [part for part in getattr(union, "geoms", [union]) if isinstance(part, Polygon) and not part.is_empty]
    return shapely.orient_polygons(MultiPolygon(parts))


def _rings(polygon: Polygon) -> tuple[Ring, ...]:
    return tuple(tuple((x, y) for x, y in ring.coords) for ring in (polygon.exterior, *polygon.interiors))


def _ring_km2(ring: shapely.LinearRing) -> float:
    """Area of an oriented ring, negative for a hole: the integral of -y dx in the cylindrical equal-area projection.

    There x = a * longitude and y = a * q(latitude) / 2 (J. P. Snyder, Map Projections - A Working Manual, 1987, eq. 3-12
    and 10-16 with the equator as standard parallel). Edges need no cutting, which a large ring would make costly.
    """
    lon, lat = np.radians(shapely.get_coordinates(ring)).T
    along = lat[:-1, None] + (_NODES + 1) / 2 * np.diff(lat)[:, None]  # (edges, nodes)
    heights = _authalic(along) @ _WEIGHTS / 2
    return float(-(_EQUATOR_M**2) / 2 * (heights * np.diff(lon)).sum()) / 1e6


def _authalic(latitude: NDArray[np.float64]) -> NDArray[np.float64]:
    """The q of eq. 3-12."""
    sine, e = np.sin(latitude), _ECCENTRICITY
    logarithm = np.log((1 - e * sine) / (1 + e * sine)) / (2 * e)
    return np.asarray((1 - e**2) * (sine / (1 - (e * sine) ** 2) - logarithm))
