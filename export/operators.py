"""The operators that TensorRT's ONNX parser documents, and the check that a graph has no others."""

from typing import Final

import onnx

LISTED: Final = """
Abs Acos Acosh Add And ArgMax ArgMin Asin Asinh Atan Atanh AveragePool BatchNormalization Cast Ceil Celu Clip Concat
Constant ConstantOfShape Conv ConvTranspose Cos Cosh CumSum DepthToSpace DequantizeLinear Div Dropout Einsum Elu Equal
Erf Exp Expand EyeLike Flatten Floor GRU Gather GatherElements GatherND Gemm GlobalAveragePool GlobalLpPool
GlobalMaxPool Greater GreaterOrEqual GridSample HardSigmoid HardSwish Identity If InstanceNormalization IsNaN LRN LSTM
LeakyRelu Less LessOrEqual Log LogSoftmax Loop LpNormalization LpPool MatMul Max MaxPool Mean MeanVarianceNormalization
Min Mod Mul Neg NonMaxSuppression NonZero Not OneHot Or PRelu Pad Pow QuantizeLinear RNN Range Reciprocal ReduceL1
ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Reshape
Resize ReverseSequence RoiAlign Round Scan ScatterElements ScatterND Selu Shape Shrink Sigmoid Sign Sin Sinh Size Slice
Softmax Softplus Softsign SpaceToDepth Split Sqrt Squeeze Sub Sum Tan Tanh ThresholdedRelu Tile TopK Transpose Trilu
Unsqueeze Where Xor
"""
"""Of TensorRT 8.5, without random and retired ones: github.com/onnx/onnx-tensorrt, docs/operators.md at commit 6d0ab7be.
Opset 18 needs TensorRT 10."""
RESIZES: Final = {"mode": {"nearest", "linear"}, "coordinate_transformation_mode": {"half_pixel", "asymmetric"}}
"""What the same page allows of Resize, as far as graphs here use it."""


def undocumented(model: onnx.ModelProto) -> tuple[str, ...]:
    """What of a graph the page does not list, sorted: none, for a graph that TensorRT is said to read."""
    listed = {*LISTED.split()}
    found = {node.op_type for node in model.graph.node if not node.domain} - listed
    foreign = {f"{node.domain}.{node.op_type}" for node in model.graph.node if node.domain}
    return tuple(sorted(found | foreign | _resizes(model)))


def _resizes(model: onnx.ModelProto) -> set[str]:
    attributes = (
        (attribute.name, attribute.s.decode())
        for node in model.graph.node
        if node.op_type == "Resize"
        for attribute in node.attribute
        if attribute.name in RESIZES
    )
    return {f"Resize with {name} {value}" for name, value in attributes if value not in RESIZES[name]}
