"""Graphs hold no operator that TensorRT's parser does not document."""

import onnx
import pytest
from onnx import TensorProto, helper

from export.operators import undocumented


def graph(operator: str, domain: str = "", **attributes: str) -> onnx.ModelProto:
    node = helper.make_node(operator, ["value"], ["out"], domain=domain, **attributes)
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 2, 4, 6]) for name in ("value", "out")]
    return helper.make_model(helper.make_graph([node], "one", ends[:1], ends[1:]))


def test_exported_graphs_hold_documented_operators_only(lean: onnx.ModelProto, full: onnx.ModelProto) -> None:
    assert undocumented(lean) == ()
    assert undocumented(full) == ()


@pytest.mark.parametrize("operator", ["Unique", "Det", "LayerNormalization", "RandomNormal"])
def test_others_are_named(operator: str) -> None:
    assert undocumented(graph(operator)) == (operator,)


def test_operators_of_other_domains_are_named() -> None:
    assert undocumented(graph("Conv", domain="com.microsoft")) == ("com.microsoft.Conv",)


def test_a_way_to_resize_that_is_not_documented_is_named() -> None:
    assert undocumented(graph("Resize", mode="cubic")) == ("Resize with mode cubic",)
    assert undocumented(graph("Resize", mode="linear")) == ()
