"""A bundle's graph in ONNX Runtime, with fixed chip and batch shape."""

import time
from collections.abc import Mapping
from functools import cached_property
from typing import Final

import numpy as np
import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from contract.errors import BundleInvalid
from workers.arrays import FloatArray
from workers.bundle import Bundle, verify_bundle

PROVIDERS: Final = ("TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider")
"""Execution providers, best first; those that this installation lacks are passed over."""
MEASURING_S: Final = 0.5
"""How long a speed is measured at least; one run of a small model says little."""
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


class Model:
    """The bundle's graph, verified, loaded and warmed up.

    A process makes one and keeps it: loading reads and optimises the graph. `predict` is not to be called from two
    threads at once, since it would double the working memory.
    """

    def __init__(self, bundle: Bundle, *, threads: int = 0) -> None:
        """Verify, load and warm up.

        Args:
            bundle: The bundle to run.
            threads: CPU threads of one run; 0 lets ONNX Runtime take every physical core.

        Raises:
            BundleInvalid: A checksum differs, or the graph does not take and give what the manifest says.
        """
        verify_bundle(bundle)
        self.bundle = bundle
        self._session = _open_session(bundle, threads)
        _check_graph(bundle, self._session)
        self._warm_up()

    @property
    def provider(self) -> str:
        """The execution provider that ONNX Runtime ended up with."""
        return str(self._session.get_providers()[0])

    @cached_property
    def pixels_per_s(self) -> float:
        """Measured speed, chip pixels per second, halo included."""
        batch, names = self.empty_batch(), tuple(entry.name for entry in self.bundle.manifest.outputs if entry.always)
        runs, begun = 0, time.perf_counter()
        while runs == 0 or time.perf_counter() - begun < MEASURING_S:
            self.predict(batch, names)
            runs += 1
        return runs * self.bundle.manifest.batch * self.bundle.manifest.chip_px**2 / (time.perf_counter() - begun)

    def empty_batch(self) -> dict[str, FloatArray]:
        """Zeroed arrays for every graph input: a batch in which nothing is observed."""
        manifest = self.bundle.manifest
        batch: dict[str, FloatArray] = {}
        for entry in manifest.inputs:
            for name, bands in ((entry.name, len(entry.bands)), (entry.validity, 1)):
                batch[name] = np.zeros((manifest.batch, bands, manifest.chip_px, manifest.chip_px), np.float32)
        return batch

    def predict(self, batch: Mapping[str, FloatArray], outputs: tuple[str, ...]) -> tuple[FloatArray, ...]:
        """The outputs asked for, each (batch, bands, chip, chip)."""
        return tuple(self._session.run(list(outputs), dict(batch)))

    def _warm_up(self) -> None:
        manifest, folder = self.bundle.manifest, str(self.bundle.folder)
        try:
            outputs = self.predict(self.empty_batch(), tuple(entry.name for entry in manifest.outputs))
        except ORT_ERRORS as error:
            raise BundleInvalid(folder, f"ONNX Runtime cannot run {manifest.graph}: {error}") from error
        for entry, values in zip(manifest.outputs, outputs, strict=True):
            needed = f"float32 {(manifest.batch, len(entry.bands), manifest.chip_px, manifest.chip_px)}"
            found = f"{values.dtype} {values.shape}" if isinstance(values, np.ndarray) else type(values).__name__
            if found != needed:
                raise BundleInvalid(folder, f"graph output {entry.name} is {found}; the manifest needs {needed}")


def _open_session(bundle: Bundle, threads: int) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    # A waiting thread that spins takes a core from the readers, which decode while the model runs.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    available = ort.get_available_providers()
    try:
        return ort.InferenceSession(bundle.graph, options, providers=[name for name in PROVIDERS if name in available])
    except ORT_ERRORS as error:
        raise BundleInvalid(str(bundle.folder), f"ONNX Runtime cannot load {bundle.manifest.graph}: {error}") from error


def _check_graph(bundle: Bundle, session: ort.InferenceSession) -> None:
    manifest = bundle.manifest
    expected = {entry.name: len(entry.bands) for entry in manifest.inputs}
    expected |= {entry.validity: 1 for entry in manifest.inputs}
    found = {entry.name: entry.shape for entry in session.get_inputs()}
    if found.keys() != expected.keys():
        raise BundleInvalid(
            str(bundle.folder), f"the graph takes {sorted(found)}, the manifest describes {sorted(expected)}"
        )
    for name, bands in expected.items():
        if found[name][1:] != [bands, manifest.chip_px, manifest.chip_px]:
            raise BundleInvalid(
                str(bundle.folder),
                f"graph input {name} is {found[name]}; the manifest needs "
                f"(batch, {bands}, {manifest.chip_px}, {manifest.chip_px})",
            )
    missing = {entry.name for entry in manifest.outputs} - {entry.name for entry in session.get_outputs()}
    if missing:
        raise BundleInvalid(str(bundle.folder), f"the graph does not give {sorted(missing)}")
