"""Providers: what ONNX Runtime computes with here. TensorRT before CUDA before CPU, and why one was passed over."""

import ctypes
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Final, TypeVar

import onnxruntime as ort

from contract.bundle import BundleGraph, BundleManifest, Provider
from contract.engine import EngineKey

T = TypeVar("T")

_LOG: Final = logging.getLogger(__name__)
_DRIVER: Final = "libcuda.so.1"
_CAPABILITY_MAJOR: Final = 75
_CAPABILITY_MINOR: Final = 76
"""Attributes of a device, CUDA driver API, CUdevice_attribute."""

ProviderOptions = dict[str, str]


class ProviderUnusable(Exception):  # noqa: N818  named for what was found, as all errors are
    """A provider cannot run a graph here; the next one may."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FallBack:
    """A provider that was tried in vain."""

    provider: Provider
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """What this machine lends to a model."""

    threads: int = 0
    """CPU threads; 0: one for each core."""
    engines: Path | None = None
    """Folder where TensorRT engines are kept; None: TensorRT is not tried, since an engine takes minutes to build."""

    @property
    def cores(self) -> int:
        """CPU threads that may run at once."""
        return self.threads or len(os.sched_getaffinity(0))

    def providers(self) -> tuple[Provider, ...]:
        """Those to try, best first; those that this installation lacks are left out."""
        there = set(ort.get_available_providers()) - (set() if self.engines else {Provider.TENSORRT.value})
        return tuple(provider for provider in Provider if provider in there)

    def options(
        self, manifest: BundleManifest, graph: BundleGraph, provider: Provider
    ) -> list[tuple[str, ProviderOptions]]:
        """The provider with those that take over the operators it lacks, as ONNX Runtime takes them.

        Raises:
            ProviderUnusable: TensorRT or a GPU is missing, or its engines cannot be kept.
        """
        behind = [each for each in self.providers() if list(Provider).index(each) > list(Provider).index(provider)]
        first = self._engine_options(manifest, graph) if provider is Provider.TENSORRT else _PLAIN[provider]
        return [(provider.value, first), *((each.value, _PLAIN[each]) for each in behind)]

    def _engine_options(self, manifest: BundleManifest, graph: BundleGraph) -> ProviderOptions:
        """https://onnxruntime.ai/docs/execution-providers/TensorRT-ExecutionProvider.html."""
        if self.engines is None:
            raise ValueError("TensorRT needs a folder for its engines")
        key = EngineKey.of(manifest, graph, tensorrt=tensorrt_version(), compute_capability=compute_capability())
        folder = self.engines / key.digest
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ProviderUnusable(f"engines cannot be kept in {self.engines} ({error.strerror})") from error
        return {
            "trt_engine_cache_enable": "1",  # an engine is built once, by `landsigma bundle warm`
            "trt_engine_cache_path": str(folder),
            "trt_timing_cache_enable": "1",  # engines of other bundles have measured the same kernels
            "trt_timing_cache_path": str(self.engines),
            "trt_fp16_enable": str(int(graph.precision == "float16")),  # TensorRT 10 needs leave to use them
            "trt_profile_min_shapes": key.profile,  # one shape: nothing is ever built again
            "trt_profile_opt_shapes": key.profile,
            "trt_profile_max_shapes": key.profile,
        }


_PLAIN: Final[dict[Provider, ProviderOptions]] = {
    Provider.CUDA: {"use_tf32": "0"},  # ten bits of mantissa would be no float32
    Provider.CPU: {},
}


def engine_folder() -> Path:
    """Where engines are kept that whoever runs as this user shares.

    https://specifications.freedesktop.org/basedir-spec/latest/.
    """
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "landsigma" / "engines"


def on_best(providers: Sequence[Provider], open_on: Callable[[Provider], T]) -> tuple[T, tuple[FallBack, ...]]:
    """What opened on the first provider that could, and those before it. Each fall-back is logged.

    Raises:
        ProviderUnusable: None could; in the words of the last one.
    """
    *better, last = providers
    passed: list[FallBack] = []
    for provider in better:
        try:
            return open_on(provider), tuple(passed)
        except ProviderUnusable as error:
            _LOG.warning("%s is passed over: %s", provider.value, error)
            passed.append(FallBack(provider=provider, reason=str(error)))
    return open_on(last), tuple(passed)


def tensorrt_version() -> str:
    """Of the library, which is in the process from then on, where ONNX Runtime finds it.

    Raises:
        ProviderUnusable: It is not installed, or does not load.
    """
    try:
        return str(import_module("tensorrt").__version__)
    except (ImportError, OSError) as error:
        raise ProviderUnusable(f"the tensorrt library cannot be loaded ({error})") from error


def compute_capability() -> str:
    """Of the first GPU that CUDA sees, as "9.0".

    Raises:
        ProviderUnusable: There is no driver or no GPU.
    """
    try:
        driver = ctypes.CDLL(_DRIVER)
    except OSError as error:
        raise ProviderUnusable(f"there is no CUDA driver ({error})") from error
    device, major, minor = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    calls: tuple[Callable[[], int], ...] = (
        lambda: driver.cuInit(0),
        lambda: driver.cuDeviceGet(ctypes.byref(device), 0),
        lambda: driver.cuDeviceGetAttribute(ctypes.byref(major), _CAPABILITY_MAJOR, device),
        lambda: driver.cuDeviceGetAttribute(ctypes.byref(minor), _CAPABILITY_MINOR, device),
    )
    for call in calls:
        if status := call():
            raise ProviderUnusable(f"the CUDA driver gives no GPU (error {status})")
    return f"{major.value}.{minor.value}"
