"""A graph in ONNX Runtime: run on chips, asked as a predictor, timed."""

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
import torch
from torch import Tensor
from torch.nn import functional

from contract.bundle import PROBABILITIES, Provider
from export.torch_graph import INPUTS
from training.evaluate.exam import each_plane
from training.tensors import Inputs, Prediction

Planes = npt.NDArray[np.float32]
ROUNDS: Final = 9
"""The first warms up."""


class GraphSession:
    """An ONNX graph on one execution provider."""

    def __init__(self, graph: onnx.ModelProto, provider: Provider = Provider.CPU, *, threads: int = 0) -> None:
        """Load and optimise.

        Args:
            graph: As `export_graph` gives it.
            provider: What to compute with; ONNX Runtime may fall back to another, see `provider`.
            threads: On a CPU; 0 for all cores.
        """
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        self._session = ort.InferenceSession(graph.SerializeToString(), options, providers=[provider.value])
        self.outputs = tuple(output.name for output in self._session.get_outputs())
        self.chip_px = int(self._session.get_inputs()[0].shape[-1])

    @property
    def provider(self) -> str:
        """What ONNX Runtime ended up with."""
        return str(self._session.get_providers()[0])

    def run(self, chips: Inputs, outputs: Sequence[str] = ()) -> dict[str, Planes]:
        """Outputs by name, all unless some are named, of chips of the graph's height and width."""
        planes = {name: getattr(chips, name).float().numpy() for name in INPUTS}
        names = tuple(outputs) or self.outputs
        return dict(zip(names, self._session.run(names, planes), strict=True))


def fastest(calls: Sequence[Callable[[], object]]) -> tuple[float, ...]:
    """Seconds of the fastest of some runs of each, taken in turns: what else the machine does slows all alike."""
    rounds = [[_seconds(call) for call in calls] for _ in range(ROUNDS)]
    return tuple(min(times) for times in zip(*rounds[1:], strict=True))


def pixels_per_s(sessions: Sequence[GraphSession], chips: Inputs) -> tuple[float, ...]:
    """Speed of each graph on a batch, halo included."""
    batch, _, rows, columns = chips.s2.shape
    calls = [partial(session.run, chips) for session in sessions]
    return tuple(batch * rows * columns / seconds for seconds in fastest(calls))


def _seconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


class GraphPredictor:
    """A graph as `training.tensors.Predictor`: images of any size up to the graph's."""

    def __init__(self, session: GraphSession) -> None:
        self._session = session

    def __call__(self, inputs: Inputs) -> Prediction:
        """What the graph says; the length of the embedding is none of its outputs and left 0."""
        rows, columns = inputs.s2.shape[-2:]
        outputs = self._session.run(framed(inputs, self._session.chip_px))
        planes = {name: torch.from_numpy(values)[..., :rows, :columns] for name, values in outputs.items()}
        total, aleatoric, embedding = planes["variance"].unbind(dim=1)
        nothing = torch.zeros_like(total)
        return Prediction(
            probabilities=planes[PROBABILITIES],
            total=total,
            aleatoric=aleatoric,
            embedding=embedding,
            latent_variance=_plane(planes, "latent_variance", nothing),
            embedding_norm=nothing,
        )


def framed(inputs: Inputs, chip_px: int) -> Inputs:
    """The image in the corner of a chip that is unobserved elsewhere."""
    rows, columns = inputs.s2.shape[-2:]
    if max(rows, columns) > chip_px:
        raise ValueError(f"an image of {rows} x {columns} px does not fit into a chip of {chip_px} px")
    return each_plane(inputs, lambda plane: functional.pad(plane, (0, chip_px - columns, 0, chip_px - rows)))


def _plane(planes: Mapping[str, Tensor], name: str, otherwise: Tensor) -> Tensor:
    return planes[name][:, 0] if name in planes else otherwise
