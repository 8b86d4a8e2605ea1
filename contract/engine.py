"""EngineKey: what a TensorRT engine was built from, on and for. It fits nothing else."""

import hashlib

from contract.bundle import BundleGraph, BundleManifest, Precision
from contract.record import Record


class EngineKey(Record):
    """Everything that a TensorRT engine depends on."""

    onnx_sha256: str
    """Of the graph."""
    tensorrt: str
    """Version of the library."""
    compute_capability: str
    """Of the GPU, as "9.0"."""
    precision: Precision
    profile: str
    """Shape of each input, as "s2:1x4x256x256,s2_valid:1x1x256x256": fixed, so smallest, usual and largest are one."""

    @classmethod
    def of(cls, manifest: BundleManifest, graph: BundleGraph, *, tensorrt: str, compute_capability: str) -> "EngineKey":
        """The key of a bundle's graph with this library on this GPU."""
        (sha256,) = (file.sha256 for file in manifest.files if file.path == graph.path)
        sides = {name: "x".join(map(str, shape)) for name, shape in manifest.input_shapes.items()}
        return cls(
            onnx_sha256=sha256,
            tensorrt=tensorrt,
            compute_capability=compute_capability,
            precision=graph.precision,
            profile=",".join(f"{name}:{shape}" for name, shape in sides.items()),
        )

    @property
    def digest(self) -> str:
        """Names a folder that holds engines of this key and no others."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()
