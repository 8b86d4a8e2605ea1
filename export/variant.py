"""What a graph in reduced precision costs and gains beside the one in float32."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import onnx

from contract.bundle import Precision
from contract.legend import Legend
from contract.record import Record
from export.session import GraphPredictor, GraphSession, pixels_per_s
from training.data.sample import Sample
from training.evaluate.answers import Uncertainty
from training.evaluate.bootstrap import Estimate, Resampling
from training.evaluate.exam import Conditions, Exam
from training.evaluate.metrics import Scores, score
from training.tensors import Inputs

LEAST_GAIN: Final = 1.05
"""A variant that is faster by no more than timings differ from run to run is not worth a file."""
DRAWS: Final = 200
"""Of the bootstrap over places."""


class GraphFigures(Record):
    """One graph on labelled samples."""

    accuracy: Estimate
    ece: Estimate
    auroc: Estimate
    """Of the total variance, for errors."""
    size_bytes: int

    @classmethod
    def of(cls, scores: Scores, size_bytes: int) -> "GraphFigures":
        """The figures that reduced precision could spoil."""
        (total,) = (entry for entry in scores.detection if entry.uncertainty is Uncertainty.TOTAL)
        return cls(accuracy=scores.overall_accuracy, ece=scores.ece, auroc=total.auroc, size_bytes=size_bytes)


class Comparison(Record):
    """A graph in reduced precision beside the one in float32."""

    precision: Precision
    float32: GraphFigures
    reduced: GraphFigures
    gain: float | None
    """How many times as fast it is on this machine's CPU; None for a graph that is made for other hardware."""

    @property
    def is_worthwhile(self) -> bool:
        """Whether it was seen to be faster."""
        return self.gain is not None and self.gain >= LEAST_GAIN


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trial:
    """What graphs are compared on."""

    samples: Sequence[Sample]
    """Labelled; unseen in training if their figures are to be quoted."""
    legend: Legend
    """Of the model."""
    conditions: Conditions
    """As `training.stages.conditions` of the model has them. A sample with its halo must fit into the graph's chip."""
    chip: Inputs
    """A batch to time."""

    def compare(self, float32: onnx.ModelProto, reduced: onnx.ModelProto, precision: Precision) -> Comparison:
        """Both graphs on the same pixels, and in turns on the same batch."""
        graphs = (float32, reduced)
        sessions = [GraphSession(graph) for graph in graphs]
        figures = [self._figures(*pair) for pair in zip(graphs, sessions, strict=True)]
        gain = None
        if precision == "int8":
            before, after = pixels_per_s(sessions, self.chip)
            gain = after / before
        return Comparison(precision=precision, float32=figures[0], reduced=figures[1], gain=gain)

    def _figures(self, graph: onnx.ModelProto, session: GraphSession) -> GraphFigures:
        exam = Exam(
            predictor=GraphPredictor(session), samples=self.samples, legend=self.legend, conditions=self.conditions
        )
        answers = exam.answers()
        scores = score("as it is", answers, self.legend, Resampling(places=len(answers.places), draws=DRAWS))
        return GraphFigures.of(scores, graph.ByteSize())
