"""Polygons in longitude and latitude: projected, and made whole where longitude jumps."""

import math
from typing import Final

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import CRS, Transformer
from shapely import GeometryCollection, MultiPolygon, Polygon, affinity
from shapely.geometry.base import BaseGeometry

from contract.errors import AoiInvalid

LONLAT: Final = CRS("OGC:CRS84")
"""WGS 84, longitude before latitude."""
TURN_DEG: Final = 360
ANTIMERIDIAN_DEG: Final = 180
POLE_DEG: Final = 90


def polygons_in(geometry: BaseGeometry) -> list[Polygon]:
    """Every polygon of a geometry that is not empty, however deeply collected."""
    if isinstance(geometry, Polygon):
        return [] if geometry.is_empty else [geometry]
    if isinstance(geometry, MultiPolygon | GeometryCollection):
        return [polygon for part in geometry.geoms for polygon in polygons_in(part)]
    return []


def reprojected(geometry: BaseGeometry, source: CRS | str, target: CRS | str) -> BaseGeometry:
    """The geometry with every vertex in another CRS, x (or longitude) first in both; infinite where that fails.

    Raises:
        ProjError: There is no way from one CRS to the other.
    """
    transformer = Transformer.from_crs(source, target, always_xy=True)
    return shapely.transform(geometry, lambda xy: np.column_stack(transformer.transform(xy[:, 0], xy[:, 1])))


def unwrapped(polygon: Polygon) -> Polygon:
    """The polygon with continuous longitudes, which may leave -180..180.

    An edge longer than 180 degrees of longitude is taken to go the other way, over the antimeridian. A ring that goes
    round a pole is taken to enclose it, and gets an edge along it.

    Raises:
        AoiInvalid: A ring goes round the Earth on both sides of the equator.
    """
    shell = _unwrapped_ring(shapely.get_coordinates(polygon.exterior))
    holes = [_unwrapped_ring(shapely.get_coordinates(hole)) for hole in polygon.interiors]
    return Polygon(shell, [_beside(hole, shell) for hole in holes])


def cut(polygon: Polygon) -> BaseGeometry:
    """The polygon in -180..180, in pieces that meet at the antimeridian (RFC 7946, section 3.1.9)."""
    west, _, east, _ = polygon.bounds
    first = math.floor((west + ANTIMERIDIAN_DEG) / TURN_DEG)
    last = math.ceil((east + ANTIMERIDIAN_DEG) / TURN_DEG)
    world = shapely.box(-ANTIMERIDIAN_DEG, -POLE_DEG, ANTIMERIDIAN_DEG, POLE_DEG)
    turned = (affinity.translate(polygon, -turn * TURN_DEG) for turn in range(first, last))
    return shapely.unary_union([shapely.intersection(copy, world) for copy in turned])


def joined(area: MultiPolygon) -> BaseGeometry:
    """The area with its parts side by side and the cut at the antimeridian dissolved; may leave -180..180."""
    parts = list(area.geoms)
    lon = np.array([part.centroid.x for part in parts])
    angles, weights = np.radians(lon), np.array([part.area for part in parts])
    middle = math.degrees(math.atan2(float(weights @ np.sin(angles)), float(weights @ np.cos(angles))))
    turns = np.round((lon - middle) / TURN_DEG)
    return shapely.unary_union(
        [affinity.translate(part, -turn * TURN_DEG) for part, turn in zip(parts, turns, strict=True)]
    )


def _unwrapped_ring(ring: NDArray[np.float64]) -> NDArray[np.float64]:
    """A closed ring of longitudes and latitudes (n, 2), made continuous."""
    lon, at_pole = ring[:, 0], np.abs(ring[:, 1]) == POLE_DEG
    if (np.abs(lon) == ANTIMERIDIAN_DEG).all():
        return ring  # the four corners of a belt or cap round the Earth
    jumps = np.where(at_pole[1:] & at_pole[:-1], 0, np.round(np.diff(lon) / TURN_DEG))
    continuous = ring - np.column_stack([np.append(0, np.cumsum(jumps)) * TURN_DEG, np.zeros_like(lon)])
    return continuous if continuous[-1, 0] == lon[0] else _closed_at_pole(continuous)


def _closed_at_pole(ring: NDArray[np.float64]) -> NDArray[np.float64]:
    first, last, lat = ring[0], ring[-1], ring[:, 1]
    if lat.min() <= 0 <= lat.max():
        raise AoiInvalid("a ring goes round the Earth on both sides of the equator", float(first[0]), float(first[1]))
    pole = math.copysign(POLE_DEG, first[1])
    return np.vstack([ring, (last[0], pole), (first[0], pole), first])


def _beside(hole: NDArray[np.float64], shell: NDArray[np.float64]) -> NDArray[np.float64]:
    """The hole, turned round the Earth to where its shell is."""
    middles = [(ring[:, 0].min() + ring[:, 0].max()) / 2 for ring in (hole, shell)]
    return hole - (TURN_DEG * np.round((middles[0] - middles[1]) / TURN_DEG), 0)
