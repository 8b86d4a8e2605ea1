"""Graphs in reduced precision."""

from collections import Counter

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from export.parity import check_parity
from export.precision import eight_bit, half, trunk_nodes
from export.variant import LEAST_GAIN, Comparison, Trial
from tests.export.examples import chips
from tests.training.examples import LEGEND, coloured
from training.evaluate.exam import Conditions
from training.models.mapping import MappingModel


@pytest.fixture(scope="module")
def halved(lean: onnx.ModelProto) -> onnx.ModelProto:
    return half(lean)


@pytest.fixture(scope="module")
def quantised(lean: onnx.ModelProto) -> onnx.ModelProto:
    return eight_bit(lean, [chips(seed=seed) for seed in range(4)])


def test_trunks_are_all_convolutions_up_to_the_heads(lean: onnx.ModelProto) -> None:
    # Of each sensor: stem, two to coarser strides, two of a block, two laterals, join.
    assert Counter(node.op_type for node in trunk_nodes(lean))["Conv"] == 2 * 8


def test_half_precision_holds_the_trunks_and_nothing_else(lean: onnx.ModelProto, halved: onnx.ModelProto) -> None:
    kinds = {constant.name: constant.data_type for constant in halved.graph.initializer}
    weights = {name for node in trunk_nodes(lean) if node.op_type == "Conv" for name in node.input[1:]}
    assert {name for name, kind in kinds.items() if kind == TensorProto.FLOAT16} == weights
    ends = (*halved.graph.input, *halved.graph.output)
    assert {value.type.tensor_type.elem_type for value in ends} == {TensorProto.FLOAT}
    casts = [[node.op_type for node in graph.graph.node].count("Cast") for graph in (lean, halved)]
    assert casts[1] - casts[0] == 4  # into and out of the trunk of each sensor


def test_half_precision_leaves_the_graph_as_it_was(lean: onnx.ModelProto) -> None:
    before = lean.SerializeToString(deterministic=True)
    half(lean)
    assert lean.SerializeToString(deterministic=True) == before


def test_half_precision_passes_its_gate(model: MappingModel, halved: onnx.ModelProto) -> None:
    report = check_parity(model, halved, [chips()], precision="float16")
    assert report.worst.max_error > 1e-6


def test_eight_bits_pass_their_gate_with_weights_of_eight_bits(model: MappingModel, quantised: onnx.ModelProto) -> None:
    report = check_parity(model, quantised, [chips(seed=9)], precision="int8")
    assert report.worst.max_error > 1e-5
    large = [constant for constant in quantised.graph.initializer if len(constant.dims) == 4]
    stored = [numpy_helper.to_array(constant).dtype for constant in large]
    assert stored.count(np.dtype(np.int8)) == 16


def test_a_comparison_shows_what_is_lost_beside_what_is_gained(
    lean: onnx.ModelProto, halved: onnx.ModelProto, quantised: onnx.ModelProto
) -> None:
    trial = Trial(
        samples=[coloured(index, (24, 16)) for index in range(2)],
        legend=LEGEND,
        conditions=Conditions(),
        chip=chips(),
    )
    same = trial.compare(lean, lean, "float16")
    assert same.float32 == same.reduced
    assert (same.gain, same.is_worthwhile) == (None, False)
    reduced = trial.compare(lean, quantised, "int8")
    assert reduced.reduced.size_bytes == quantised.ByteSize()
    assert reduced.float32.accuracy.value == pytest.approx(reduced.reduced.accuracy.value, abs=0.1)
    assert reduced.gain is not None
    assert trial.compare(lean, halved, "float16").reduced.size_bytes < same.float32.size_bytes


def test_a_variant_that_is_hardly_faster_is_not_worth_a_file(lean: onnx.ModelProto) -> None:
    trial = Trial(samples=[coloured(0, (24, 16))], legend=LEGEND, conditions=Conditions(), chip=chips())
    figures = trial.compare(lean, lean, "float16").float32
    slow, fast = (
        Comparison(precision="int8", float32=figures, reduced=figures, gain=gain)
        for gain in (LEAST_GAIN - 0.01, LEAST_GAIN + 0.01)
    )
    assert not slow.is_worthwhile
    assert fast.is_worthwhile
