"""One observation is used once, though it comes in several versions and in tiles that overlap.

A pass is one flight of one platform over the area. It comes as many scenes: tiles of the Sentinel-2 grid that overlap
by 10 km, slices of a Sentinel-1 swath, several versions of either. Where they overlap they hold the same observation,
which a median must not count twice. So a composite lays the scenes of a pass over each other first (`passes`), and
scenes that could add nothing to that are not even planned (`without_duplicates`).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from shapely import MultiPolygon, unary_union
from shapely.geometry.base import BaseGeometry

from contract.scene import Scene, SkippedScene

LONGEST_GAP: Final = timedelta(minutes=30)
"""Between two scenes of one pass. An area is crossed in minutes; the platform is back after an orbit of 98 minutes or
more, and its twin, if they are not told apart, follows half an orbit behind."""
SAME_SHARE: Final = 0.01
"""Share of a version's part of the area that a newer one may lack: versions differ in a few vertices of footprint."""
MARGIN_DEG: Final = 0.01
"""How far inside its neighbours' footprint a scene must lie to be left out. Straight lines in longitude and latitude
between the corners of a tile are its edges to some hundreds of metres only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A scene that fits the request."""

    scene: Scene
    footprint: MultiPolygon
    part: BaseGeometry
    """Of the area of interest, inside the footprint. The same pass sees the same ground in every tile, so where two
    footprints hold a point, either both scenes have data there or neither has."""
    processed: datetime | None


def passes(scenes: Iterable[Scene]) -> tuple[tuple[Scene, ...], ...]:
    """The scenes grouped by pass, in order of time; in each group the newest baseline first.

    Scenes that share a pass do so in any selection of scenes, so blocks of one job agree.
    """
    groups: list[list[Scene]] = []
    for scene in sorted(scenes, key=lambda scene: (scene.modality, scene.platform, scene.acquired, scene.id)):
        if not groups or not _share_pass(groups[-1][-1], scene):
            groups.append([])
        groups[-1].append(scene)
    groups.sort(key=lambda group: (group[0].acquired, group[0].id))
    return tuple(tuple(sorted(group, key=_baseline, reverse=True)) for group in groups)


def is_native(scene: Scene, crs: str) -> bool:
    """The scene's tile is known to be stored in that CRS, an authority code: its UTM zone, north or south."""
    if scene.mgrs_tile is None:
        return False
    zone, band = int(scene.mgrs_tile[:2]), scene.mgrs_tile[2]
    return crs == f"EPSG:{(32600 if band >= 'N' else 32700) + zone}"


def without_duplicates(
    candidates: Iterable[Candidate], *, crs: str
) -> tuple[tuple[Scene, ...], tuple[SkippedScene, ...]]:
    """The scenes to use, in order of time, and those that hold no observation of their own.

    Of versions of one tile in one pass, the newest stays. Of neighbours in one pass, those that see most of the area
    stay until the rest can add nothing; among equals, tiles in the CRS of the job's grid, which need no warping.
    """
    by_id = {(candidate.scene.collection, candidate.scene.id): candidate for candidate in candidates}
    skipped: list[SkippedScene] = []
    kept: list[Scene] = []
    for group in passes(candidate.scene for candidate in by_id.values()):
        newest = list(_newest_versions([by_id[scene.collection, scene.id] for scene in group], skipped))
        kept += _needed(newest, crs, skipped)
    return tuple(sorted(kept, key=lambda scene: (scene.acquired, scene.id))), tuple(skipped)


def _newest_versions(candidates: list[Candidate], skipped: list[SkippedScene]) -> Iterator[Candidate]:
    """Without the versions that a newer one replaces. A tile may also come in two halves, which both stay."""
    newest_first = sorted(candidates, key=_version, reverse=True)
    for index, candidate in enumerate(newest_first):
        newer = next((other for other in newest_first[:index] if _replaces(other, candidate)), None)
        if newer is None:
            yield candidate
        else:
            skipped.append(SkippedScene(id=candidate.scene.id, reason=f"{newer.scene.id} is a newer version of it"))


def _needed(candidates: list[Candidate], crs: str, skipped: list[SkippedScene]) -> Iterator[Scene]:
    """Without the scenes whose part of the area the others cover."""

    def rank(candidate: Candidate) -> tuple[float, bool, str]:
        return -round(candidate.part.area, 9), not is_native(candidate.scene, crs), candidate.scene.id

    kept: list[Candidate] = []
    for candidate in sorted(candidates, key=rank):
        if unary_union([other.footprint for other in kept]).buffer(-MARGIN_DEG).covers(candidate.part):
            names = ", ".join(other.scene.id for other in kept)
            reason = f"the same pass is in {names}, for all of its part of the area"
            skipped.append(SkippedScene(id=candidate.scene.id, reason=reason))
        else:
            kept.append(candidate)
            yield candidate.scene


def _share_pass(one: Scene, next_: Scene) -> bool:
    same_kind = (one.modality, one.platform) == (next_.modality, next_.platform)
    return same_kind and next_.acquired - one.acquired < LONGEST_GAP


def _replaces(newer: Candidate, older: Candidate) -> bool:
    tile = older.scene.mgrs_tile
    same_tile = tile is not None and tile == newer.scene.mgrs_tile
    return same_tile and older.part.difference(newer.part).area <= SAME_SHARE * older.part.area


def _version(candidate: Candidate) -> tuple[str, float, str]:
    """Grows with every reprocessing."""
    processed = candidate.processed.timestamp() if candidate.processed else 0.0
    return _baseline(candidate.scene), processed, candidate.scene.id


def _baseline(scene: Scene) -> str:
    """Compares like the numbers in it, which have two digits each."""
    return scene.baseline or ""
