"""A check that Sentinel-2 pixels look as if their radiometric offset was handled once. It never changes a pixel."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from contract.bands import SENTINEL2_OFFSET_BASELINE
from contract.scene import Scene
from workers.stack import Stack

VISIBLE: Final = ("B02", "B03", "B04")
"""Bands in which water, shadow and vegetation are nearly black, so that nearly every scene shows the offset."""
TOO_DARK: Final = -0.02
"""Reflectance. Atmospheric correction gives small negatives; an offset applied twice moves all that is dark to -0.1."""
TOO_DARK_SHARE: Final = 0.1
DARK: Final = 0.09
"""Reflectance. With the offset left in, black is at 0.1."""
DARK_SHARE: Final = 0.001
ENOUGH_PX: Final = 100_000
"""Clear pixels below which a scene is not judged."""


@dataclass(slots=True)
class _Tally:
    clear: int = 0
    dark: int = 0
    too_dark: int = 0


class OffsetCheck:
    """Counts dark pixels scene by scene."""

    def __init__(self) -> None:
        self._tallies: dict[Scene, _Tally] = {}

    def look(self, stack: Stack) -> None:
        """Take these pixels into account."""
        visible = [index for index, band in enumerate(stack.bands) if band in VISIBLE]
        if visible:
            for scene, values, missing in zip(stack.scenes, stack.values, stack.missing, strict=True):
                darkest = np.min([values[index] for index in visible], axis=0)
                tally = self._tallies.setdefault(scene, _Tally())
                tally.clear += missing.size - np.count_nonzero(missing)
                tally.dark += int(np.count_nonzero((darkest < DARK) & ~missing))
                tally.too_dark += int(np.count_nonzero((darkest < TOO_DARK) & ~missing))

    def warnings(self) -> Iterator[str]:
        """What looks wrong."""
        for scene, tally in self._judged():
            if tally.too_dark > TOO_DARK_SHARE * tally.clear:
                yield f"scene {scene.id}: many pixels are below {TOO_DARK} reflectance; its offset seems applied twice"
            elif tally.dark < DARK_SHARE * tally.clear and _may_have_offset(scene):
                yield (
                    f"scene {scene.id}: hardly a pixel is below {DARK} reflectance in visible light; unless this is "
                    "bright desert, its offset seems not to be removed"
                )

    def _judged(self) -> Iterable[tuple[Scene, _Tally]]:
        return ((scene, tally) for scene, tally in self._tallies.items() if tally.clear >= ENOUGH_PX)


def _may_have_offset(scene: Scene) -> bool:
    if scene.baseline is None:
        return True
    major, _, minor = scene.baseline.partition(".")
    return (int(major), int(minor)) >= SENTINEL2_OFFSET_BASELINE
