"""GraphSession: one graph of a bundle in ONNX Runtime on one provider, compared with the manifest and warmed up."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import numpy as np
import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from contract.bundle import BANDS_KEY, BundleGraph, Provider
from contract.errors import BundleInvalid
from workers.arrays import FloatArray
from workers.bundle import Bundle
from workers.providers import ProviderUnusable, Runtime

MOST_LANES: Final = 8
"""Beyond it, lanes have more threads instead: each takes memory for a batch."""
ORT_ERRORS: Final = (
    ort_errors.EPFail,
    ort_errors.Fail,
    ort_errors.InvalidArgument,
    ort_errors.InvalidGraph,
    ort_errors.InvalidProtobuf,
    ort_errors.NotImplemented,
    ort_errors.RuntimeException,
    RuntimeError,
)
"""How ONNX Runtime refuses a graph. By name, as they share no base: what a signal handler raises must pass."""


class GraphSession:
    """A graph that has run once on every lane: a lane is a run beside others, with working memory of its own.

    On a CPU, each lane has a thread. One run on all threads waits at every small operator until the last is through.
    """

    def __init__(self, bundle: Bundle, graph: BundleGraph, provider: Provider, runtime: Runtime) -> None:
        """Load, compare with the manifest, and warm up.

        Raises:
            ProviderUnusable: It cannot be loaded or run on this provider.
            BundleInvalid: The graph does not take and give what the manifest says.
        """
        self.graph, self.provider = graph, provider
        self.lanes = min(MOST_LANES, runtime.cores) if provider is Provider.CPU else 1
        self._bundle = bundle
        self._session = self._open(runtime)
        self._check_inputs()
        self._check_bands()
        self._check_outputs()
        self._warm_up()

    def run(self, batch: Mapping[str, FloatArray], outputs: tuple[str, ...]) -> tuple[FloatArray, ...]:
        """The outputs asked for, each (batch, bands, chip, chip)."""
        return tuple(self._session.run(list(outputs), dict(batch)))

    def run_every_lane(self) -> tuple[FloatArray, ...]:
        """All outputs of an empty batch, which each lane has run at the same time."""
        batch = empty_batch(self._bundle)
        with ThreadPoolExecutor(self.lanes) as pool:
            first, *_ = pool.map(lambda _: self.run(batch, self.graph.outputs), range(self.lanes))
        return first

    def _open(self, runtime: Runtime) -> ort.InferenceSession:
        options = ort.SessionOptions()
        options.intra_op_num_threads = runtime.cores // self.lanes
        # A waiting thread that spins takes a core from the readers, which decode while the model runs.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        providers = runtime.options(self._bundle.manifest, self.graph, self.provider)
        path = self._bundle.folder / self.graph.path
        try:
            # Without its own way of falling back, which prints and does not tell.
            session = ort.InferenceSession(path, options, providers=providers, enable_fallback=0)
        except ORT_ERRORS as error:
            raise ProviderUnusable(f"ONNX Runtime cannot load {self.graph.path}: {error}") from error
        if session.get_providers()[0] != self.provider:
            raise ProviderUnusable("ONNX Runtime could not start it; its own log says why")
        return session

    def _check_inputs(self) -> None:
        expected = {name: list(shape[1:]) for name, shape in self._bundle.manifest.input_shapes.items()}
        found = {entry.name: entry.shape for entry in self._session.get_inputs()}
        if found.keys() != expected.keys():
            self._refuse(f"the graph takes {sorted(found)}, the manifest describes {sorted(expected)}")
        for name, shape in expected.items():
            if found[name][1:] != shape:
                needed = ", ".join(map(str, shape))
                self._refuse(f"graph input {name} is {found[name]}; the manifest needs (batch, {needed})")

    def _check_bands(self) -> None:
        """Shapes tell how many bands a graph takes. Which ones it was trained on, it may say itself."""
        told = self._session.get_modelmeta().custom_metadata_map
        for entry in self._bundle.manifest.inputs:
            bands, listed = told.get(BANDS_KEY.format(entry.name)), ",".join(entry.bands)
            if bands is not None and bands != listed:
                self._refuse(f"graph input {entry.name} takes the bands {bands}; the manifest lists {listed}")

    def _check_outputs(self) -> None:
        missing = {*self.graph.outputs} - {entry.name for entry in self._session.get_outputs()}
        if missing:
            self._refuse(f"the graph does not give {sorted(missing)}")

    def _warm_up(self) -> None:
        manifest = self._bundle.manifest
        try:
            outputs = self.run_every_lane()
        except ORT_ERRORS as error:
            raise ProviderUnusable(f"ONNX Runtime cannot run {self.graph.path}: {error}") from error
        for name, values in zip(self.graph.outputs, outputs, strict=True):
            bands = len(manifest.output(name).bands)
            needed = f"float32 {(manifest.batch, bands, manifest.chip_px, manifest.chip_px)}"
            found = f"{values.dtype} {values.shape}" if isinstance(values, np.ndarray) else type(values).__name__
            if found != needed:
                self._refuse(f"graph output {name} is {found}; the manifest needs {needed}")

    def _refuse(self, reason: str) -> None:
        raise BundleInvalid(str(self._bundle.folder), reason)


def empty_batch(bundle: Bundle) -> dict[str, FloatArray]:
    """Zeroed arrays for every graph input: a batch in which nothing is observed."""
    return {name: np.zeros(shape, np.float32) for name, shape in bundle.manifest.input_shapes.items()}
