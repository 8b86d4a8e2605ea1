"""The gate opens for what the model says and for nothing else."""

from copy import deepcopy

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from contract.bands import Modality
from contract.bundle import Provider
from contract.errors import ParityFailed
from export.chips import hard, real_chips
from export.parity import LIMITS, ParityReport, check_parity, measure_parity
from export.reference import Reference
from tests.export.examples import CHIP_PX, THRESHOLDS, chips
from tests.training.examples import coloured
from training.data.sample import BandChoice, Sample
from training.models.mapping import MappingModel
from training.tensors import Inputs


def changed(graph: onnx.ModelProto, name: str, factor: float) -> onnx.ModelProto:
    """The graph with one of its constants multiplied."""
    made = deepcopy(graph)
    (constant,) = (each for each in made.graph.initializer if each.name.endswith(name))
    values = (numpy_helper.to_array(constant) * factor).astype(np.float32)
    constant.CopyFrom(numpy_helper.from_array(values, constant.name))
    return made


def test_an_exported_graph_passes_under_every_mask(model: MappingModel, full: onnx.ModelProto) -> None:
    report = check_parity(model, full, [chips(seed=1), chips(seed=2)], thresholds=THRESHOLDS)
    cases = {(entry.case, entry.chips) for entry in report.outputs}
    assert cases == {
        *((case, 2) for case in ("both sensors", "Sentinel-2 alone", "Sentinel-1 alone")),
        *((case, 1) for case in ("nothing observed", "scattered pixels", "random boxes", "wild values")),
    }
    assert {entry.output for entry in report.outputs} == {value.name for value in full.graph.output}
    assert Provider.CPU in {entry.provider for entry in report.outputs}
    assert report.worst.max_error < LIMITS["float32"].maximum
    assert ParityReport.model_validate_json(report.model_dump_json()) == report


def test_a_graph_of_other_weights_is_refused_with_value_and_limit(model: MappingModel, lean: onnx.ModelProto) -> None:
    with pytest.raises(ParityFailed) as refused:
        check_parity(model, changed(lean, "s2.mean.0.weight", 1.01), [chips()])
    error = refused.value
    assert (error.provider, error.limit) == ("CPUExecutionProvider", LIMITS["float32"].mean)
    assert error.value > error.limit
    assert (error.case, error.output, error.measure) == ("both sensors", "probabilities", "mean")
    assert f"{error.value:.3g}" in str(error)


def test_nan_never_passes(model: MappingModel, lean: onnx.ModelProto) -> None:
    with pytest.raises(ParityFailed) as refused:
        check_parity(model, changed(lean, "s1.mean.0.bias", np.nan), [chips()], precision="int8")
    assert refused.value.value == np.inf


def test_what_fails_can_still_be_measured(model: MappingModel, lean: onnx.ModelProto) -> None:
    report = measure_parity(
        model, changed(lean, "s2.mean.0.weight", 1.01), [("as seen", chips()), ("as seen", chips())]
    )
    assert {(entry.case, entry.chips) for entry in report.outputs} == {("as seen", 2)}
    assert report.worst.max_error > LIMITS["float32"].maximum


def test_each_sensor_loses_a_box_of_its_own() -> None:
    chip = chips()
    boxed = hard(chip)["random boxes"]
    lost = [(before > 0) & (after == 0) for before, after in zip(planes(chip), planes(boxed), strict=True)]
    assert all(0 < gone.sum() < gone.numel() / 2 for gone in lost)
    assert not torch.equal(*lost)
    assert boxed.s2[0, :, lost[0][0, 0]].isnan().all()


def planes(chip: Inputs) -> tuple[torch.Tensor, torch.Tensor]:
    return chip.s2_valid, chip.s1_valid


def test_a_gate_without_chips_says_nothing(model: MappingModel, lean: onnx.ModelProto) -> None:
    with pytest.raises(ValueError, match="0 chips"):
        check_parity(model, lean, [])


@torch.no_grad()
def test_a_set_is_off_by_how_far_the_class_is_from_what_decides(model: MappingModel) -> None:
    expected = Reference(model, THRESHOLDS)(chips())
    likely = expected.outputs["probabilities"][0, :, 3, 4]
    members = [each >= min(0.1, likely.max()) for each in likely]
    sets = np.zeros((1, 4, CHIP_PX, CHIP_PX), np.float32)
    right = sum(2**index for index, member in enumerate(members) if member)
    sets[0, :2, 3, 4] = sum(members), right
    assert expected.errors("conformal_set", sets)[0, 0, 3, 4] == 0
    sets[0, 0, 3, 4] += 1
    assert expected.errors("conformal_set", sets)[0, 0, 3, 4] == 1
    flipped = [*members[:1], not members[1], *members[2:]]
    sets[0, :2, 3, 4] = sum(flipped), sum(2**index for index, member in enumerate(flipped) if member)
    decides = min(0.1, likely.max())
    assert expected.errors("conformal_set", sets)[0, 0, 3, 4] == pytest.approx(abs(likely[1] - decides))


def s2_of(sample: Sample) -> np.ndarray:
    return sample.observations[Modality.S2].values


def test_a_large_sample_is_cut_and_repeats_itself_where_room_is_left() -> None:
    sample = coloured(0, (40, 72))
    first, second = real_chips([sample], BandChoice(), CHIP_PX)
    whole = s2_of(sample)
    np.testing.assert_array_equal(first.s2[0, :, :40], whole[:, :, :64])
    np.testing.assert_array_equal(first.s2[0, :, 40:], whole[:, :24, :64])
    np.testing.assert_array_equal(second.s2[0, :, :40, :8], whole[:, :, 64:])
    np.testing.assert_array_equal(second.s2[0, :, :40, 8:16], whole[:, :, 64:])


def test_small_samples_share_a_chip() -> None:
    samples = [coloured(index, (24, 32)) for index in range(5)]
    first, second = real_chips(samples, BandChoice(), CHIP_PX)
    for number, (row, column) in enumerate([(0, 0), (0, 32), (32, 0), (32, 32)]):
        cell = first.s2[0, :, row : row + 24, column : column + 32]
        np.testing.assert_array_equal(cell, s2_of(samples[number]))
        np.testing.assert_array_equal(second.s2[0, :, row : row + 24, column : column + 32], s2_of(samples[4]))
