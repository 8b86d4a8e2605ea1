"""A block through the model, chip by chip, straight into the numbers that are stored."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import numpy as np

from contract.bundle import PROBABILITIES
from contract.grid import Window
from contract.legend import Legend
from workers.ahead import ahead
from workers.arrays import BoolArray, FloatArray
from workers.composite import Composite
from workers.grid import Chip
from workers.model import Model
from workers.products.spec import LANDCOVER, QUALITY, RasterSpec, StoredArray, encode
from workers.worker import Worker


def infer(worker: Worker, model: Model, composite: Composite, chips: Sequence[Chip], raster: "BlockRasters") -> None:
    """Run the chips in batches of the bundle's size and store what they give in `raster`.

    As many batches are in the model at once as it has lanes, and one more waits.

    Raises:
        Interrupted: Someone asked the worker to stop.
    """
    names = raster.graph_outputs
    lanes = model.lanes(names)

    def predict(some: tuple[Chip, ...]) -> tuple[tuple[Chip, ...], tuple[FloatArray, ...]]:
        worker.check_stop()
        return some, model.predict(_fill(model, composite, some), names)

    with ThreadPoolExecutor(lanes, "model") as pool:
        for some, outputs in ahead(pool, predict, _batched(chips, model.bundle.manifest.batch), count=lanes):
            for position, chip in enumerate(some):
                inner = chip.keep.slices_in(chip.read)
                kept = {name: values[position][:, *inner] for name, values in zip(names, outputs, strict=True)}
                raster.store(chip.keep, kept)
                worker.watcher.mapped(raster.answered_px(chip.keep))


class BlockRasters:
    """The rasters of one block while its chips come in."""

    def __init__(self, block: Window, specs: Sequence[RasterSpec], legend: Legend, missing: BoolArray) -> None:
        """Start with nodata everywhere.

        Args:
            block: The pixels that the rasters cover.
            specs: What to store.
            legend: Turns the most probable channel into a class value.
            missing: (rows, cols) of the block, True outside the AOI and where no modality was observed.
        """
        self._block = block
        self._missing = missing.copy()
        self._values = np.array([entry.value for entry in legend.classes], np.uint8)
        self._specs = {spec.name: spec for spec in specs}
        self.arrays: dict[str, StoredArray] = {
            spec.name: np.full((len(spec.bands), *block.shape), spec.nodata, spec.dtype) for spec in specs
        }

    @property
    def graph_outputs(self) -> tuple[str, ...]:
        """The graph outputs needed: probabilities for the class, and every output that is stored."""
        stored = self._specs.keys() - {LANDCOVER, QUALITY, PROBABILITIES}
        return (PROBABILITIES, *sorted(stored))

    def answered_px(self, keep: Window) -> int:
        """Pixels of a chip that get a class."""
        return int(np.count_nonzero(~self._missing[keep.slices_in(self._block)]))

    def store(self, keep: Window, outputs: dict[str, FloatArray]) -> None:
        """Encode one chip's outputs, each (bands, rows, cols) of its `keep` window; no answer where a probability is NaN."""
        place = keep.slices_in(self._block)
        self._missing[place] |= np.isnan(outputs[PROBABILITIES]).any(axis=0)
        missing = self._missing[place]
        classes = self._values[np.argmax(outputs[PROBABILITIES], axis=0)]
        classes[missing] = self._specs[LANDCOVER].nodata
        self.arrays[LANDCOVER][0][place] = classes
        for name, values in outputs.items():
            if name in self._specs:
                self.arrays[name][:, *place] = encode(values, self._specs[name], missing)


def _fill(model: Model, composite: Composite, chips: Sequence[Chip]) -> dict[str, FloatArray]:
    batch = model.empty_batch()
    for entry in model.bundle.manifest.inputs:
        layer = composite.layers.get(entry.modality)
        if layer is None:
            continue
        for position, chip in enumerate(chips):
            place = chip.read.slices_in(composite.window)
            batch[entry.name][position] = layer.values[:, *place]
            batch[entry.validity][position, 0] = ~layer.missing[place]
    return batch


def _batched(chips: Sequence[Chip], size: int) -> Iterator[tuple[Chip, ...]]:
    remaining = iter(chips)
    while some := tuple(islice(remaining, size)):
        yield some
