"""What happened while a block was read: which scenes were used, what could not be read, what looks wrong."""

from collections import Counter

import numpy as np

from contract.bands import SCL, Modality
from contract.grid import Window
from contract.request import LostRead
from workers.arrays import BoolArray
from workers.offset_check import OffsetCheck
from workers.stack import Stack


class Journal:
    """Kept while the parts of a window are read."""

    def __init__(self, window: Window, outside: BoolArray) -> None:
        """Start with nothing.

        Args:
            window: What is to be read.
            outside: (rows, cols) of the window, True outside the AOI.
        """
        self._window = window
        self._outside = outside
        self._lost_px: Counter[tuple[str, str]] = Counter()
        self._reasons: dict[tuple[str, str], str] = {}
        self._used: dict[str, None] = {}  # in the order of their first use
        self._unmasked = False
        self._offsets = OffsetCheck()

    def note(self, stack: Stack) -> BoolArray:
        """Take down what a part of the window gave, before scenes of one pass are made one.

        Returns:
            (rows, cols) of the part, AOI pixels that miss an observation since an asset could not be read.
        """
        place = stack.window.slices_in(self._window)
        inside = ~self._outside[place]
        for scene, missing in zip(stack.scenes, stack.missing, strict=True):
            if np.any(inside & ~missing):
                self._used[scene.id] = None
                self._unmasked |= scene.modality is Modality.S2 and scene.asset(SCL) is None
        self._offsets.look(stack)
        sighted = {sighting.scene.id: sighting for sighting in stack.sightings}
        lost = np.zeros(stack.window.shape, np.bool_)
        for error in stack.unreadable:
            affected = sighted[error.scene].covers(stack.window) & inside
            lost |= affected
            self._lost_px[error.scene, error.band] += int(affected.sum())
            self._reasons.setdefault((error.scene, error.band), error.reason)
        return lost

    def lost_reads(self) -> tuple[LostRead, ...]:
        """One record for each band of a scene that could not be read somewhere."""
        return tuple(
            LostRead(scene=scene, band=band, reason=self._reasons[scene, band], pixels=pixels)
            for (scene, band), pixels in sorted(self._lost_px.items())
        )

    def used_scenes(self) -> tuple[str, ...]:
        """Scenes that have a clear pixel in the AOI."""
        return tuple(self._used)

    def warnings(self) -> tuple[str, ...]:
        """What a person should know; worded alike in every block, so that equal warnings can be made one."""
        unmasked = ("Sentinel-2 scenes without a scene classification were used: their clouds are not masked",)
        return (*(unmasked if self._unmasked else ()), *self._offsets.warnings())
