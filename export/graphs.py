"""The graphs of a bundle, each through the parity gate before it is written."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final, Literal

import onnx

from contract.bundle import BundleGraph, ConformalThreshold, ModelInput, Provider
from contract.record import Record
from export.chips import real_chips
from export.folder import GRAPH_NAME, name_bands
from export.inputs import sentinel1_input, sentinel2_input
from export.parity import ParityReport, check_parity
from export.precision import eight_bit, half
from export.torch_graph import LEAN, available_outputs, export_graph
from export.variant import Comparison, Trial
from training.checkpoint import Provenance
from training.data.pool import SamplePool
from training.models.mapping import MappingModel
from training.stages import conditions
from training.tensors import Inputs

FULL_NAME: Final = "model-full.onnx"
PARITY_CHIPS: Final = 100
"""Most chips of the training samples that go through the gate."""

Reduced = Literal["float16", "int8"]

PROVIDERS: Final[dict[Reduced, tuple[Provider, ...]]] = {
    "float16": (Provider.TENSORRT, Provider.CUDA),
    "int8": (Provider.CPU,),
}
"""What each precision is for."""


class GraphParity(Record):
    """What one graph of a bundle was off by."""

    path: str
    report: ParityReport


class BundleParity(Record):
    """What each graph of a bundle was off by. Stored as `parity.json` in the bundle folder."""

    graphs: tuple[GraphParity, ...]
    comparisons: tuple[Comparison, ...] = ()
    """Of every reduced precision that was asked for, on training samples: also of those that were not worth a file."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TriedGraph:
    """A graph that passed the gate."""

    entry: BundleGraph
    model: onnx.ModelProto
    report: ParityReport
    comparison: Comparison | None = None
    """Of one in reduced precision."""

    @property
    def is_shipped(self) -> bool:
        """A graph for this machine has to be faster than the one in float32; other hardware is not at hand to time it."""
        return self.comparison is None or self.comparison.gain is None or self.comparison.is_worthwhile


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GraphMaker:
    """What the graphs of a bundle are made from and tried on."""

    model: MappingModel
    provenance: Provenance
    """With its calibration."""
    pool: SamplePool
    """Labelled training samples; with the model's halo, each fits into a chip where precision is to be reduced."""
    chip_px: int
    """Height and width of the graphs."""

    def tried(self, variants: Sequence[Reduced]) -> tuple[TriedGraph, ...]:
        """The lean graph in reduced precisions, then in float32, and last the one that gives every output.

        Raises:
            ParityFailed: A graph does not give what the model gives.
        """
        chips = list(islice(real_chips(self.pool, self.model.encoder.bands, self.chip_px), PARITY_CHIPS))
        lean = self._float32(GRAPH_NAME, LEAN, chips)
        full = self._float32(FULL_NAME, available_outputs(self.model, self._thresholds), chips)
        return (*self._reduced(variants, lean, chips), lean, full)

    def inputs(self) -> tuple[ModelInput, ModelInput]:
        """What the graphs eat."""
        bands = self.model.encoder.bands
        return sentinel2_input(bands.s2), sentinel1_input(bands.s1)

    @property
    def _thresholds(self) -> tuple[ConformalThreshold, ...]:
        calibration = self.provenance.calibration
        return calibration.conformal if calibration else ()

    def _float32(self, path: str, outputs: tuple[str, ...], chips: Sequence[Inputs]) -> TriedGraph:
        graph = export_graph(self.model, self.chip_px, outputs, thresholds=self._thresholds)
        report = check_parity(self.model, name_bands(graph, self.inputs()), chips, thresholds=self._thresholds)
        return TriedGraph(entry=BundleGraph(path=path, outputs=outputs), model=graph, report=report)

    def _reduced(self, variants: Sequence[Reduced], lean: TriedGraph, chips: Sequence[Inputs]) -> Iterator[TriedGraph]:
        trial = Trial(
            samples=self.pool[:PARITY_CHIPS], legend=self.model.legend, conditions=conditions(self.model), chip=chips[0]
        )
        for precision in variants:
            graph = half(lean.model) if precision == "float16" else eight_bit(lean.model, chips)
            report = check_parity(self.model, name_bands(graph, self.inputs()), chips, precision=precision)
            entry = BundleGraph(
                path=f"model-{precision}.onnx",
                precision=precision,
                providers=PROVIDERS[precision],
                outputs=lean.entry.outputs,
            )
            comparison = trial.compare(lean.model, graph, precision)
            yield TriedGraph(entry=entry, model=graph, report=report, comparison=comparison)
