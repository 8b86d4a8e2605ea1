"""Many scenes become one raster for each sensor, part by part, so that memory does not grow with dates."""

import math
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from threading import Event
from typing import Final, Literal, Self

import numpy as np
from numpy.typing import NDArray

from contract.bands import Modality
from contract.grid import Grid, Window
from contract.request import LostRead, MapOptions
from workers.arrays import BoolArray, CountArray, FloatArray
from workers.journal import Journal
from workers.median import masked_median
from workers.reading import SceneReader
from workers.sighting import Sighting
from workers.stack import Stack, StackReader, by_pass

READ_THREADS: Final = 16
"""Assets read at a time: remote reads wait for the network most of the time."""
STACK_BYTES: Final = 768 << 20
"""Memory for the observations of one part of a window."""
TILE_PX: Final = 512
"""Side of the tiles that most sources store; a read that needs a pixel of one fetches all of it."""
MAX_COUNT: Final = 254
"""Counts stop here; 255 is nodata in products."""

_READ_BYTES_PER_PX: Final = 12
"""Of a read under way: the stored numbers, their float32 values, masks."""

Rule = Literal["median", "first-clear", "mean", "mean power"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModalityComposite:
    """One sensor's observations made one raster."""

    values: FloatArray
    """(bands, rows, cols), reflectance or dB; 0 where missing."""
    missing: BoolArray
    """(rows, cols), True where no scene has a clear observation in all bands."""
    count: CountArray
    """(rows, cols), passes that went into the value, at most `MAX_COUNT`."""
    lost: BoolArray
    """(rows, cols), AOI pixels that miss at least one observation of this sensor since an asset could not be read."""

    @classmethod
    def empty(cls, bands: int, shape: tuple[int, int]) -> Self:
        """Nothing observed yet."""
        return cls(
            values=np.zeros((bands, *shape), np.float32),
            missing=np.ones(shape, np.bool_),
            count=np.zeros(shape, np.uint8),
            lost=np.zeros(shape, np.bool_),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Composite:
    """What a model gets to see of a window, and what went missing on the way."""

    window: Window
    layers: dict[Modality, ModalityComposite]
    lost_reads: tuple[LostRead, ...]
    used_scenes: tuple[str, ...]
    """Scenes with a clear pixel in the AOI."""
    warnings: tuple[str, ...]


def build_composite(  # noqa: PLR0913  one call site, which has them all at hand
    sighted: Sequence[Sighting],
    *,
    grid: Grid,
    window: Window,
    bands: Mapping[Modality, tuple[str, ...]],
    options: MapOptions,
    reader: SceneReader,
    outside: BoolArray,
    stop: Event,
    stack_bytes: int = STACK_BYTES,
) -> Composite:
    """The scenes' clear observations as one raster per modality.

    An observation counts where all bands asked for are valid and the scene classification leaves the pixel; scenes of one
    pass count once. Sentinel-1 is averaged as power and given in dB. A pixel is the same in every window.

    Args:
        sighted: All scenes of the job; those that do not meet the window are not opened.
        grid: The job's grid.
        window: Pixels of it; may stick out.
        bands: The bands of each modality to read.
        options: Composite rule and scene classes to mask.
        reader: Reads the assets.
        outside: (rows, cols) of the window, True outside the AOI; only counts and reports depend on it.
        stop: Set from outside to end early.
        stack_bytes: Memory for observations; the window is read in as many parts as that takes.

    Raises:
        Interrupted: `stop` is set.
        SourceUnreachable: There is no token to read with; what could be read before is not wrong.
    """
    journal = Journal(window, outside)
    pool = ThreadPoolExecutor(READ_THREADS, "asset")
    stacks = StackReader(
        reader=reader, pool=pool, stop=stop, grid=grid, masked_scene_classes=options.masked_scene_classes
    )
    layers = {}
    try:
        for modality, names in bands.items():
            layer = layers[modality] = ModalityComposite.empty(len(names), window.shape)
            here = [one for one in sighted if one.scene.modality is modality and one.meets(window)]
            for part in cut_parts(window, scenes=len(here), bands=len(names), stack_bytes=stack_bytes):
                stack = stacks.read([one for one in here if one.meets(part)], names, part)
                place = part.slices_in(window)
                layer.lost[place] = journal.note(stack)
                _fill(layer, place, by_pass(stack), _rule(modality, options))
    finally:
        # Reads under way after a stop run into their timeouts by themselves.
        pool.shutdown(wait=False, cancel_futures=True)
    return Composite(
        window=window,
        layers=layers,
        lost_reads=journal.lost_reads(),
        used_scenes=journal.used_scenes(),
        warnings=journal.warnings(),
    )


def stack_bytes_per_px(scenes: int, bands: int) -> int:
    """Memory that a pixel takes while its observations are read and in the stack."""
    return scenes * (4 * bands + 1) + min(READ_THREADS, scenes * (bands + 1)) * _READ_BYTES_PER_PX


def cut_parts(window: Window, *, scenes: int, bands: int, stack_bytes: int) -> Iterator[Window]:
    """Even parts of the window that fit into memory, row-major; none if there is nothing to read."""
    if not scenes:
        return
    fitting_px = max(1, stack_bytes // stack_bytes_per_px(scenes, bands))
    down, across = min(_cuts(window, fitting_px), key=lambda cuts: _fetched_px(window, *cuts))
    for top, bottom in pairwise(window.row + window.height * cut // down for cut in range(down + 1)):
        for left, right in pairwise(window.col + window.width * cut // across for cut in range(across + 1)):
            yield Window(row=top, col=left, height=bottom - top, width=right - left)


def _cuts(window: Window, fitting_px: int) -> Iterator[tuple[int, int]]:
    """Numbers of rows and columns of parts of at most so many pixels."""
    for down in range(1, window.height + 1):
        fitting_cols = fitting_px // math.ceil(window.height / down)
        if fitting_cols:
            yield down, math.ceil(window.width / fitting_cols)


def _fetched_px(window: Window, down: int, across: int) -> int:
    """What all parts fetch: along each axis, the tiles at a part's two ends are one tile more than the part is long."""
    return (window.height + TILE_PX * down) * (window.width + TILE_PX * across)


def _rule(modality: Modality, options: MapOptions) -> Rule:
    return options.s2_composite if modality is Modality.S2 else "mean power"


def _fill(layer: ModalityComposite, place: tuple[slice, slice], stack: Stack, rule: Rule) -> None:
    """Combine a stack, and put the result where it belongs in the layer."""
    if not stack.scenes:
        return
    observed = np.asarray(np.sum(~stack.missing, axis=0, dtype=np.intp))
    layer.values[:, *place] = _combined(stack, observed, rule)
    layer.missing[place] = observed == 0
    layer.count[place] = np.minimum(observed, 1 if rule == "first-clear" else MAX_COUNT)


def _combined(stack: Stack, observed: NDArray[np.intp], rule: Rule) -> FloatArray:
    """(bands, rows, cols), 0 where nothing is observed."""
    match rule:
        case "median":
            return masked_median(stack.values, stack.missing)
        case "first-clear":
            return _first(stack)
        case "mean":
            return _mean(stack, observed).astype(np.float32)
        case "mean power":
            power = _mean(stack, observed).astype(np.float32)  # a logarithm of doubles takes four times as long
            return np.float32(10) * np.log10(power, where=power > 0, out=np.zeros_like(power))


def _first(stack: Stack) -> FloatArray:
    first = np.zeros(stack.values.shape[1:], np.float32)
    for values, missing in zip(reversed(stack.values), reversed(stack.missing), strict=True):
        np.copyto(first, values, where=~missing)
    return first


def _mean(stack: Stack, observed: NDArray[np.intp]) -> NDArray[np.float64]:
    """Summed date by date in double precision: the same to the bit however the window is cut."""
    total = np.zeros(stack.values.shape[1:], np.float64)
    for values, missing in zip(stack.values, stack.missing, strict=True):
        total += values * ~missing  # a masked addition takes nearly twice as long
    return total / np.maximum(observed, 1)
