"""The exported graph, against torch in double precision and numpy."""

from copy import deepcopy

import numpy as np
import onnx
import pytest
import torch
from scipy.stats import entropy

from export.graph import IR_VERSION, OPSET
from export.session import GraphSession
from export.torch_graph import LEAN, available_outputs, conformal_bands, export_graph
from tests.export.examples import CHIP_PX, THRESHOLDS, chips, fitted, poisoned
from training.evaluate.exam import each_plane
from training.models.mapping import MappingModel
from training.tensors import Prediction

EVERY = (*LEAN, "latent_variance", "entropy", "margin", "model_doubt", "ood_distance", "conformal_set")


@torch.no_grad()
def in_doubles(model: MappingModel, count: int) -> Prediction:
    return deepcopy(model).double()(each_plane(chips(count), torch.Tensor.double))


def test_every_output_is_there_in_order_with_fixed_sides_and_any_batch(full: onnx.ModelProto) -> None:
    shapes = {
        value.name: [side.dim_param or side.dim_value for side in value.type.tensor_type.shape.dim]
        for value in (*full.graph.input, *full.graph.output)
    }
    bands = {"s2": 4, "s2_valid": 1, "s1": 2, "s1_valid": 1, "probabilities": 3, "variance": 3}
    bands |= dict.fromkeys(EVERY[2:-1], 1) | {"conformal_set": 4}
    assert [*shapes] == [*bands]
    assert shapes == {name: ["batch", count, CHIP_PX, CHIP_PX] for name, count in bands.items()}


def test_what_was_not_fitted_is_no_output(model: MappingModel) -> None:
    bare = deepcopy(model)
    bare.doubt = bare.latents = None
    assert available_outputs(model, THRESHOLDS) == EVERY
    assert available_outputs(bare, THRESHOLDS[1:2]) == EVERY[:5]
    with pytest.raises(ValueError, match=r"gives no .*model_doubt"):
        export_graph(bare, CHIP_PX, ("model_doubt",))


@pytest.mark.parametrize("count", [1, 3])
def test_the_graph_says_what_torch_says(session: GraphSession, model: MappingModel, count: int) -> None:
    found, expected = session.run(chips(count)), in_doubles(model, count)
    variances = [expected.total, expected.aleatoric, expected.embedding]
    np.testing.assert_allclose(found["probabilities"], expected.probabilities, rtol=0, atol=2e-6)
    np.testing.assert_allclose(found["variance"], torch.stack(variances, dim=1), rtol=0, atol=2e-6)
    np.testing.assert_allclose(found["latent_variance"][:, 0], expected.latent_variance, rtol=1e-5)
    np.testing.assert_allclose(found["model_doubt"][:, 0], expected.doubt, rtol=0, atol=2e-6)
    np.testing.assert_allclose(found["ood_distance"][:, 0], expected.ood_distance, rtol=1e-4)


def test_entropy_and_margin_are_of_the_probabilities(session: GraphSession) -> None:
    found = session.run(chips())
    probabilities = found["probabilities"].astype(np.float64)
    first_two = np.sort(probabilities, axis=1)[:, :-3:-1]
    np.testing.assert_allclose(found["entropy"][:, 0], entropy(probabilities, axis=1), rtol=0, atol=2e-6)
    np.testing.assert_allclose(found["margin"][:, 0], 1 - (first_two[:, 0] - first_two[:, 1]), rtol=0, atol=1e-6)


def test_a_conformal_set_has_a_bit_for_each_class_above_the_threshold_and_for_the_first(session: GraphSession) -> None:
    found = session.run(chips())
    likely = np.moveaxis(found["probabilities"][0], 0, -1)
    assert conformal_bands(THRESHOLDS) == ("size_0.1", "classes_0.1", "size_0.2", "classes_0.2")
    for size, mask, least in ((*found["conformal_set"][0, :2], 0.1), (*found["conformal_set"][0, 2:], 0.3)):
        for row in range(0, CHIP_PX, 5):
            for column in range(0, CHIP_PX, 7):
                pixel = likely[row, column]
                members = [index for index, each in enumerate(pixel) if each >= least or each == max(pixel)]
                assert mask[row, column] == sum(2**index for index in members)
                assert size[row, column] == len(members)
    assert len(np.unique(found["conformal_set"][0, 3])) > 3


@pytest.mark.parametrize("garbage", [np.nan, np.inf, -9999.0])
def test_nothing_under_a_mask_reaches_an_output(session: GraphSession, garbage: float) -> None:
    clean, dirty = session.run(chips()), session.run(poisoned(chips(), garbage))
    for name in EVERY:
        np.testing.assert_array_equal(dirty[name], clean[name], err_msg=name)


def test_extreme_values_stay_finite(session: GraphSession) -> None:
    wild = chips()
    wild.s2[..., ::5, ::3] = torch.inf
    wild.s2[..., 1::5, ::3] = -3e38
    wild.s1[..., ::4, ::7] = -torch.inf
    wild.s1[..., 1::4, ::7] = 3e38
    for name, values in session.run(wild).items():
        assert np.isfinite(values).all(), name


def test_where_nothing_was_seen_the_prior_answers_evenly(session: GraphSession) -> None:
    found = session.run(each_plane(chips(), torch.zeros_like))
    assert (found["latent_variance"] == 1).all()
    for values in found.values():
        assert np.ptp(values, axis=(2, 3)).max() < 1e-6


def test_the_lean_graph_says_the_same(session: GraphSession, lean: onnx.ModelProto) -> None:
    short, long = GraphSession(lean, threads=1).run(chips()), session.run(chips())
    assert (*short,) == LEAN
    for name in LEAN:
        np.testing.assert_allclose(short[name], long[name], rtol=0, atol=1e-6)


def test_exporting_leaves_the_model_as_it_was(model: MappingModel, full: onnx.ModelProto) -> None:  # noqa: ARG001  exported
    for (name, before), after in zip(fitted().state_dict().items(), model.state_dict().values(), strict=True):
        torch.testing.assert_close(after, before, rtol=0, atol=0, msg=name)


def test_norms_are_folded_and_no_number_is_random(full: onnx.ModelProto) -> None:
    kinds = {node.op_type for node in full.graph.node}
    assert not kinds & {"BatchNormalization", "Identity", "Softmax", "Dropout"}
    assert not [kind for kind in kinds if "Random" in kind or kind in {"Bernoulli", "Multinomial"}]


def test_means_over_channels_are_convolutions(lean: onnx.ModelProto) -> None:
    assert "ReduceMean" not in {node.op_type for node in lean.graph.node}


def test_the_same_model_gives_the_same_bytes_which_tell_nothing_of_the_machine(
    model: MappingModel, lean: onnx.ModelProto
) -> None:
    again = export_graph(model, CHIP_PX).SerializeToString(deterministic=True)
    assert again == lean.SerializeToString(deterministic=True)
    assert b".py" not in again
    assert (lean.ir_version, [entry.version for entry in lean.opset_import]) == (IR_VERSION, [OPSET])
