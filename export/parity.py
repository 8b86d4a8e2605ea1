"""The parity gate: an exported graph against the model that it was made from, on every execution provider at hand."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

import numpy as np
import onnx
import onnxruntime as ort
from pydantic import Field

from contract.bundle import ConformalThreshold, Precision, Provider
from contract.errors import ParityFailed
from contract.record import Record
from export.chips import WILD_VALUES, hard, masked
from export.reference import Reference
from export.session import GraphSession
from training.models.mapping import MappingModel
from training.tensors import Inputs


class Limit(Record):
    """How far a graph may be from its model; see `export.reference.Expected.errors`."""

    mean: float = Field(gt=0)
    maximum: float = Field(gt=0)
    wild: float = Field(gt=0)
    """The maximum on values that no sensor gives: 8 bits saturate there, and what comes out need only be finite."""


LIMITS: Final[Mapping[Precision, Limit]] = {
    "float32": Limit(mean=1e-5, maximum=1e-4, wild=1e-4),
    "float16": Limit(mean=3e-4, maximum=0.01, wild=0.01),
    "int8": Limit(mean=0.01, maximum=0.2, wild=1.0),
}
"""Up to ten times what was seen on reBEN. What reduced precision costs is judged by accuracy, too: `export.variant`."""


class OutputParity(Record):
    """How far one output was off in one case."""

    provider: Provider
    case: str
    """What the chips were like."""
    output: str
    chips: int
    mean_error: float
    max_error: float


class ParityReport(Record):
    """What a graph that passed was off by."""

    precision: Precision
    limit: Limit
    outputs: tuple[OutputParity, ...]
    untried: tuple[Provider, ...]
    """Providers that are not at hand: nothing is known of the graph on them."""

    @property
    def worst(self) -> OutputParity:
        """Where the graph was furthest off."""
        return max(self.outputs, key=lambda entry: entry.max_error)


def check_parity(
    model: MappingModel,
    graph: onnx.ModelProto,
    chips: Iterable[Inputs],
    *,
    thresholds: Sequence[ConformalThreshold] = (),
    precision: Precision = "float32",
) -> ParityReport:
    """What the outputs of a graph are off by.

    Args:
        model: What the graph was exported from.
        graph: With any of `export.torch_graph.available_outputs`.
        chips: Batches of the graph's height and width; each is tried under every mask, the first also made hard.
        thresholds: Those that the graph was exported with.
        precision: Of the graph; chooses the limit.

    Raises:
        ParityFailed: An output is off by more than the limit, or not finite.
    """
    report = measure_parity(model, graph, _cases(chips), thresholds=thresholds, precision=precision)
    _refuse_failing(report)
    return report


def measure_parity(
    model: MappingModel,
    graph: onnx.ModelProto,
    cases: Iterable[tuple[str, Inputs]],
    *,
    thresholds: Sequence[ConformalThreshold] = (),
    precision: Precision = "float32",
) -> ParityReport:
    """The same on other cases, each a batch with the name of what it is like, and whatever comes out."""
    sessions = _sessions(graph)
    reference = Reference(model, thresholds)
    errors: dict[tuple[Provider, str, str], list[tuple[float, float]]] = defaultdict(list)
    for case, chip in cases:
        expected = reference(chip)
        for provider, session in sessions.items():
            for name, found in session.run(chip).items():
                off = expected.errors(name, found)
                errors[provider, case, name].append((float(off.mean()), float(off.max())))
    outputs = tuple(_summary(key, pairs) for key, pairs in errors.items())
    untried = tuple(provider for provider in Provider if provider not in sessions)
    return ParityReport(precision=precision, limit=LIMITS[precision], outputs=outputs, untried=untried)


def _sessions(graph: onnx.ModelProto) -> dict[Provider, GraphSession]:
    """Of every provider that loads the graph; one that cannot be loaded falls back to the CPU."""
    listed = [provider for provider in Provider if provider.value in ort.get_available_providers()]
    opened = {provider: GraphSession(graph, provider) for provider in listed}
    return {provider: session for provider, session in opened.items() if session.provider == provider.value}


def _cases(chips: Iterable[Inputs]) -> Iterator[tuple[str, Inputs]]:
    for number, chip in enumerate(chips):
        yield from masked(chip).items()
        if number == 0:
            yield from hard(chip).items()


def _summary(key: tuple[Provider, str, str], pairs: Sequence[tuple[float, float]]) -> OutputParity:
    provider, case, output = key
    means, maxima = np.array(pairs).T
    return OutputParity(
        provider=provider,
        case=case,
        output=output,
        chips=len(pairs),
        mean_error=float(means.mean()),
        max_error=float(maxima.max()),
    )


def _refuse_failing(report: ParityReport) -> None:
    if not report.outputs:
        raise ValueError("parity on 0 chips says nothing; need at least one")
    for entry in report.outputs:
        for measure, value, limit in measures(entry, report.limit):
            if not value <= limit:
                raise ParityFailed(
                    provider=entry.provider.value,
                    case=entry.case,
                    output=entry.output,
                    measure=measure,
                    value=value,
                    limit=limit,
                )


def measures(entry: OutputParity, limit: Limit) -> tuple[tuple[str, float, float], ...]:
    """Name, value and limit of what is judged."""
    if entry.case == WILD_VALUES:
        return (("maximum", entry.max_error, limit.wild),)
    return ("mean", entry.mean_error, limit.mean), ("maximum", entry.max_error, limit.maximum)
