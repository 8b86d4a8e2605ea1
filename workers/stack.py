"""All observations of a window: scenes read side by side, masked, and lined up."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from itertools import groupby
from threading import Event

import numpy as np

from contract.bands import SCL, SceneClass
from contract.errors import AssetUnreadable, Interrupted
from contract.grid import Grid, Window
from contract.scene import Scene
from workers.arrays import BoolArray, FloatArray
from workers.reading import SceneReader
from workers.resampling import Resampling
from workers.sighting import Sighting

_STOP_CHECK_S = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """Observations of a window."""

    window: Window
    bands: tuple[str, ...]
    sightings: tuple[Sighting, ...]
    values: FloatArray
    """(scenes, bands, rows, cols)"""
    missing: BoolArray
    """(scenes, rows, cols), True where a band is missing, the scene is masked, or an asset could not be read."""
    unreadable: tuple[AssetUnreadable, ...]

    @property
    def scenes(self) -> tuple[Scene, ...]:
        """One for each plane."""
        return tuple(sighting.scene for sighting in self.sightings)


@dataclass(frozen=True, slots=True, kw_only=True)
class StackReader:
    """Reads stacks on one grid."""

    reader: SceneReader
    pool: ThreadPoolExecutor
    """Reads this many assets at a time."""
    stop: Event
    grid: Grid
    masked_scene_classes: tuple[SceneClass, ...]
    given_up: dict[str, list[AssetUnreadable]] = field(default_factory=dict)
    """By scene, its assets that could not be read. Nothing more is read of it, as it is of no use without one."""

    def read(self, sighted: Sequence[Sighting], bands: tuple[str, ...], window: Window) -> Stack:
        """These bands of these scenes over a window.

        A scene that has a scene classification is masked with it; where that cannot be read, so is nothing of the scene.
        A scene that was given up in another window is reported as unreadable in this one too.

        Raises:
            Interrupted: Someone asked to stop.
            SourceUnreachable: There is no token to read with.
        """
        scenes = [sighting.scene for sighting in sighted]
        values = np.zeros((len(scenes), len(bands), *window.shape), np.float32)
        missing = np.zeros((len(scenes), *window.shape), np.bool_)
        wanted = {
            self.pool.submit(self._band, scene, name, window, values[index, band]): index
            for index, scene in enumerate(scenes)
            for band, name in enumerate(bands)
        }
        wanted |= {
            self.pool.submit(self._classes, scene, window): index
            for index, scene in enumerate(scenes)
            if scene.asset(SCL)
        }
        for read in self._completed(wanted):
            try:
                missing[wanted[read]] |= read.result()
            except AssetUnreadable as error:
                self.given_up.setdefault(error.scene, []).append(error)
        for index, scene in enumerate(scenes):
            missing[index] |= scene.id in self.given_up
        return Stack(
            window=window,
            bands=bands,
            sightings=tuple(sighted),
            values=values,
            missing=missing,
            unreadable=tuple(error for scene in scenes for error in self.given_up.get(scene.id, ())),
        )

    def _band(self, scene: Scene, band: str, window: Window, into: FloatArray) -> BoolArray:
        if scene.id in self.given_up:
            return np.ones(window.shape, np.bool_)
        pixels = self.reader.read(scene, band, grid=self.grid, window=window, resampling=Resampling.BILINEAR)
        into[:] = pixels.values
        return pixels.missing

    def _classes(self, scene: Scene, window: Window) -> BoolArray:
        if scene.id in self.given_up:
            return np.ones(window.shape, np.bool_)
        pixels = self.reader.read(scene, SCL, grid=self.grid, window=window, resampling=Resampling.NEAREST)
        masked = np.zeros(256, np.bool_)
        masked[list(self.masked_scene_classes)] = True
        masked[SceneClass.NO_DATA] = True
        return np.asarray(pixels.missing | masked[pixels.values.astype(np.uint8)])

    def _completed(self, reads: Iterable[Future[BoolArray]]) -> Iterator[Future[BoolArray]]:
        waiting = set(reads)
        while waiting:
            done, waiting = wait(waiting, _STOP_CHECK_S, FIRST_COMPLETED)
            if self.stop.is_set():
                raise Interrupted
            yield from done


def by_pass(stack: Stack) -> Stack:
    """The stack with the scenes of one pass made one: the first that has a pixel gives it.

    They hold the very same observation where they overlap, which must not count twice. Uses the stack's memory.
    """
    firsts: list[int] = []
    for _, group in groupby(range(len(stack.sightings)), key=lambda index: stack.sightings[index].pass_index):
        first, *others = group
        for other in others:
            np.copyto(stack.values[first], stack.values[other], where=stack.missing[first])
            stack.missing[first] &= stack.missing[other]
        place = len(firsts)
        if place < first:
            stack.values[place], stack.missing[place] = stack.values[first], stack.missing[first]
        firsts.append(first)
    return replace(
        stack,
        sightings=tuple(stack.sightings[first] for first in firsts),
        values=stack.values[: len(firsts)],
        missing=stack.missing[: len(firsts)],
    )
