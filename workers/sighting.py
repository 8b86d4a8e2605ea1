"""A scene as a job sees it: where it lies on the grid, and in which pass it was taken."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import shapely
from shapely.geometry.base import BaseGeometry

from contract.grid import Grid, Window
from contract.scene import Scene
from workers.aoi import geometry_of
from workers.arrays import BoolArray
from workers.grid import outside_area, project_area
from workers.sources.duplicates import is_native, passes

FOOTPRINT_MARGIN_M: Final = 1000.0
"""A scene so far outside by its footprint is opened still: catalogues simplify footprints."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """A scene and where it lies on the grid."""

    scene: Scene
    footprint: BaseGeometry
    """In the grid's CRS."""
    grid: Grid
    pass_index: int
    """The same for scenes of one pass, which hold the same observation where they overlap."""

    def meets(self, window: Window) -> bool:
        """The scene may have pixels there."""
        return bool(shapely.dwithin(self.footprint, shapely.box(*self.grid.bounds_m(window)), FOOTPRINT_MARGIN_M))

    def covers(self, window: Window) -> BoolArray:
        """(rows, cols), True where the scene should have pixels."""
        return ~outside_area(self.footprint, self.grid, window)


def sightings(scenes: Iterable[Scene], grid: Grid) -> tuple[Sighting, ...]:
    """All scenes of a job by time, those of one pass side by side; of these, first those that need no warping.

    Grouped before a window is looked at, so that every window has the same groups.
    """
    return tuple(
        Sighting(
            scene=scene,
            footprint=project_area(geometry_of(scene.footprint), grid.crs),
            grid=grid,
            pass_index=index,
        )
        for index, group in enumerate(passes(scenes))
        for scene in sorted(group, key=lambda scene: not is_native(scene, grid.crs))
    )
