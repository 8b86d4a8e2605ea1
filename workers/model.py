"""A bundle's graph in ONNX Runtime, with fixed chip and batch shape."""

import time
from collections.abc import Mapping
from functools import cached_property
from typing import Final

import numpy as np
import onnxruntime as ort

from contract.errors import BundleInvalid
from workers.arrays import FloatArray
from workers.bundle import Bundle, verify_bundle

PROVIDERS: Final = ("TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider")
"""Execution providers, best first; those that this installation lacks are passed over."""


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
        self.predict(self.empty_batch(), tuple(entry.name for entry in bundle.manifest.outputs))

    @property
    def provider(self) -> str:
        """The execution provider that ONNX Runtime ended up with."""
        return str(self._session.get_providers()[0])

    @cached_property
    def pixels_per_s(self) -> float:
        """Measured speed on one batch, chip pixels per second, halo included."""
        batch, names = self.empty_batch(), tuple(entry.name for entry in self.bundle.manifest.outputs if entry.always)
        begun = time.perf_counter()
        self.predict(batch, names)
        return self.bundle.manifest.batch * self.bundle.manifest.chip_px**2 / (time.perf_counter() - begun)

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


def _open_session(bundle: Bundle, threads: int) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    # A waiting thread that spins takes a core from the readers, which decode while the model runs.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    available = ort.get_available_providers()
    try:
        return ort.InferenceSession(bundle.graph, options, providers=[name for name in PROVIDERS if name in available])
    except Exception as error:  # ONNX Runtime's own errors share no public base class
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
