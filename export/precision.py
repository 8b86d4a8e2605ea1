"""The same graph in half precision for GPUs, or with 8-bit convolutions for CPUs."""

import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from export.session import Planes
from export.torch_graph import INPUTS
from training.tensors import Inputs

TRUNK: Final = ".trunk."
"""In the names of weights of both encoders up to their Gaussian heads: nearly all multiplications. What follows stays in
float32: precisions of experts reach e^8, and variances are differences of numbers near 1."""
BETWEEN: Final = frozenset({"Add", "Relu", "Resize"})
"""Operators that join the convolutions of a trunk."""


def half(graph: onnx.ModelProto) -> onnx.ModelProto:
    """The graph with both trunks in half precision; inputs and outputs stay float32."""
    made = onnx.ModelProto()
    made.CopyFrom(graph)
    trunk = trunk_nodes(made)
    inside = {node.output[0] for node in trunk}
    _halve_weights(made, trunk)
    _cast_between(made.graph, inside)
    onnx.checker.check_model(made, full_check=True)
    return made


def eight_bit(graph: onnx.ModelProto, chips: Iterable[Inputs]) -> onnx.ModelProto:
    """The graph with the trunks in 8 bits (QDQ), their ranges measured on chips.

    Args:
        graph: In float32.
        chips: Real ones, of the graph's height and width.
    """
    with tempfile.TemporaryDirectory() as folder:
        prepared, made = Path(folder) / "prepared.onnx", Path(folder) / "int8.onnx"
        quant_pre_process(graph, prepared, skip_optimization=True, skip_symbolic_shape=True)
        quantize_static(
            prepared,
            made,
            _Chips(chips),
            nodes_to_quantize=[node.name for node in trunk_nodes(graph)],
            per_channel=True,
            # Without VNNI, products of 8-bit numbers are summed in pairs in 16 bits: seven bits keep them from overflowing.
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        return onnx.load(made)


def trunk_nodes(graph: onnx.ModelProto) -> list[onnx.NodeProto]:
    """Convolutions of both trunks and what joins them."""
    constants = {constant.name for constant in graph.graph.initializer}
    inside: set[str] = set()
    found = []
    for node in graph.graph.node:
        values = [name for name in node.input if name and name not in constants]
        joins = node.op_type in BETWEEN and inside.issuperset(values)
        if joins or (node.op_type == "Conv" and TRUNK in node.input[1]):
            inside.add(node.output[0])
            found.append(node)
    return found


class _Chips(CalibrationDataReader):  # type: ignore[misc]  # ONNX Runtime ships no types
    """Chips as ONNX Runtime's calibration asks for them: one after the other, then None."""

    def __init__(self, chips: Iterable[Inputs]) -> None:
        self._feeds: Iterator[dict[str, Planes]] = (
            {name: getattr(chip, name).float().numpy() for name in INPUTS} for chip in chips
        )

    def get_next(self) -> dict[str, Planes] | None:
        """The next chip's planes by name."""
        return next(self._feeds, None)


def _halve_weights(model: onnx.ModelProto, trunk: list[onnx.NodeProto]) -> None:
    weights = {name for node in trunk if node.op_type == "Conv" for name in node.input[1:]}
    for constant in model.graph.initializer:
        if constant.name in weights:
            halved = numpy_helper.to_array(constant).astype(np.float16)
            constant.CopyFrom(numpy_helper.from_array(halved, constant.name))


def _cast_between(graph: onnx.GraphProto, inside: set[str]) -> None:
    """Put casts where values enter and leave the trunks, and forget what types values had."""
    nodes: list[onnx.NodeProto] = []
    cast: dict[str, str] = {}
    constants = {constant.name for constant in graph.initializer}
    for node in graph.node:
        within = node.output[0] in inside
        for place, name in enumerate(node.input):
            if name and name not in constants and (name in inside) != within:
                if name not in cast:
                    cast[name] = f"{name}_cast"
                    kind = TensorProto.FLOAT16 if within else TensorProto.FLOAT
                    nodes.append(helper.make_node("Cast", [name], [cast[name]], name=cast[name], to=kind))
                node.input[place] = cast[name]
        nodes.append(node)
    del graph.node[:], graph.value_info[:]
    graph.node.extend(nodes)
