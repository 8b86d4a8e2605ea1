"""A bundle's model in ONNX Runtime, with fixed chip and batch shape."""

import time
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Final

from contract.bundle import PROBABILITIES
from contract.errors import BundleInvalid
from workers.arrays import FloatArray
from workers.bundle import Bundle, verify_bundle
from workers.providers import FallBack, ProviderUnusable, Runtime, on_best
from workers.session import GraphSession, empty_batch

MEASURING_S: Final = 0.5
"""How long a speed is measured at least; one run of a small model says little."""


class Model:
    """The bundle's graphs, verified, loaded and warmed up.

    A process makes one and keeps it: loading reads and optimises the graph.
    """

    def __init__(self, bundle: Bundle, *, threads: int = 0, engines: Path | None = None) -> None:
        """Verify, load what every map needs, and warm up. Graphs with further outputs are loaded when asked for.

        Args:
            bundle: The bundle to run.
            threads: CPU threads; 0: every core.
            engines: Folder where TensorRT engines are kept; None: TensorRT is not tried.

        Raises:
            BundleInvalid: A checksum differs, or the graph does not take and give what the manifest says.
        """
        verify_bundle(bundle)
        self.bundle = bundle
        self._runtime = Runtime(threads=threads, engines=engines)
        self._sessions: list[GraphSession] = []
        self._fall_backs: list[FallBack] = []
        self._session(self.usual_outputs)

    @property
    def usual_outputs(self) -> tuple[str, ...]:
        """What every map needs."""
        always = (entry.name for entry in self.bundle.manifest.outputs if entry.always)
        return tuple(dict.fromkeys((PROBABILITIES, *always)))

    @property
    def provider(self) -> str:
        """The execution provider in use, with the precision where it is not float32."""
        names = (
            session.provider.value + ("" if session.graph.precision == "float32" else f" {session.graph.precision}")
            for session in self._sessions
        )
        return " and ".join(dict.fromkeys(names))

    @property
    def fall_backs(self) -> tuple[FallBack, ...]:
        """Providers that are installed and could not be used, once for each graph."""
        return tuple(self._fall_backs)

    @cached_property
    def pixels_per_s(self) -> float:
        """Measured speed, chip pixels per second, halo included."""
        manifest, session = self.bundle.manifest, self._session(self.usual_outputs)
        runs, begun = 0, time.perf_counter()
        while runs == 0 or time.perf_counter() - begun < MEASURING_S:
            session.run_every_lane()
            runs += session.lanes
        return runs * manifest.batch * manifest.chip_px**2 / (time.perf_counter() - begun)

    def empty_batch(self) -> dict[str, FloatArray]:
        """Zeroed arrays for every graph input: a batch in which nothing is observed."""
        return empty_batch(self.bundle)

    def lanes(self, outputs: tuple[str, ...]) -> int:
        """How many threads may ask for these outputs at once. More would take more memory and be no faster.

        Raises:
            BundleInvalid: They need another graph than before, which cannot be used.
        """
        return self._session(outputs).lanes

    def predict(self, batch: Mapping[str, FloatArray], outputs: tuple[str, ...]) -> tuple[FloatArray, ...]:
        """The outputs asked for, each (batch, bands, chip, chip); see `lanes`."""
        return self._session(outputs).run(batch, outputs)

    def warm_up(self) -> None:
        """Load and run every graph that may be needed here; TensorRT builds its engines now.

        Raises:
            BundleInvalid: One of them cannot be used.
        """
        self._session(tuple(entry.name for entry in self.bundle.manifest.outputs))

    def _session(self, outputs: tuple[str, ...]) -> GraphSession:
        """The session of the leanest graph that gives these outputs, opened at its first use."""
        fitting = [session for session in self._sessions if {*outputs} <= {*session.graph.outputs}]
        return min(fitting, key=lambda session: len(session.graph.outputs)) if fitting else self._open(outputs)

    def _open(self, outputs: tuple[str, ...]) -> GraphSession:
        bundle, runtime = self.bundle, self._runtime
        try:
            session, passed = on_best(
                runtime.providers(),
                lambda provider: GraphSession(bundle, bundle.manifest.graph_for(provider, outputs), provider, runtime),
            )
        except ProviderUnusable as error:
            raise BundleInvalid(str(bundle.folder), str(error)) from error
        self._sessions.append(session)
        self._fall_backs += passed
        return session
