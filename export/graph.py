"""GraphWriter: an ONNX graph, one named value after the other."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from contract.bundle import ModelInput

OPSET = 18
IR_VERSION = 8  # the first IR version with opset 18, so that the oldest runtime which knows the opset reads it


class GraphWriter:
    """Collects nodes and constants, and gives a checked model whose bytes are the same on every run."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []

    def inputs(self, modality: ModelInput, chip_px: int) -> tuple[str, str]:
        """Names of a modality's bands and of its validity plane, declared as inputs of the graph."""
        for name, bands in ((modality.name, len(modality.bands)), (modality.validity, 1)):
            self._inputs.append(_plane(name, bands, chip_px))
        return modality.name, modality.validity

    def constant(self, values: npt.ArrayLike) -> str:
        """A float32 constant."""
        return self._keep(np.asarray(values, dtype=np.float32))

    def integers(self, values: Sequence[int]) -> str:
        """An int64 constant: indices, axes, shapes."""
        return self._keep(np.asarray(values, dtype=np.int64))

    def node(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """The output of one operator of the default domain; attributes as the ONNX operator table names them."""
        output = f"{operator.lower()}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, list(inputs), [output], name=output, **attributes))
        return output

    def mix(self, value: str, matrix: npt.ArrayLike, offset: npt.ArrayLike | None = None) -> str:
        """A 1x1 convolution: `matrix` (channels out, channels in) at every pixel, plus `offset` (channels out)."""
        kernel = self.constant(np.asarray(matrix)[:, :, np.newaxis, np.newaxis])
        inputs = [value, kernel] if offset is None else [value, kernel, self.constant(offset)]
        return self.node("Conv", *inputs)

    def channels(self, value: str, first: int, count: int = 1) -> str:
        """`count` channels of a value, from `first` on."""
        bounds = self.integers([first]), self.integers([first + count]), self.integers([1])
        return self.node("Slice", value, *bounds)

    def output(self, name: str, value: str, channels: int, chip_px: int) -> None:
        """Declare a value as an output of the graph, under a name of its own."""
        self._nodes.append(helper.make_node("Identity", [value], [name], name=name))
        self._outputs.append(_plane(name, channels, chip_px))

    def model(self) -> onnx.ModelProto:
        """The model, checked with full shape inference.

        Raises:
            onnx.checker.ValidationError: An operator, attribute or shape does not fit.
        """
        graph = helper.make_graph(self._nodes, self._name, self._inputs, self._outputs, self._constants)
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="landsigma",
        )
        onnx.checker.check_model(model, full_check=True)
        return model

    def _keep(self, values: npt.NDArray[np.float32] | npt.NDArray[np.int64]) -> str:
        name = f"constant_{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(values, name))
        return name


def _plane(name: str, channels: int, chip_px: int) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", channels, chip_px, chip_px])
