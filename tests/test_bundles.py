import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest

from contract.bundle import BundleManifest
from tests.bundles import BLUR_ALIGNMENT_PX, BLUR_RADIUS_PX, write_blur_bundle, write_identity_bundle

CHIP = 48

Chips = dict[str, npt.NDArray[np.float32]]


@pytest.fixture
def chips() -> Chips:
    random = np.random.default_rng(4)
    shape = (2, 1, CHIP, CHIP)
    return {
        "s2": random.uniform(0, 0.5, (2, 4, CHIP, CHIP)).astype(np.float32),
        "s2_valid": random.integers(0, 2, shape).astype(np.float32),
        "s1": random.uniform(-25, 0, (2, 2, CHIP, CHIP)).astype(np.float32),
        "s1_valid": random.integers(0, 2, shape).astype(np.float32),
    }


def run(folder: Path, chips: Chips) -> Chips:
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, chips), strict=True))


def test_identity_bundle_gives_its_input_back_bit_for_bit(tmp_path: Path, chips: Chips) -> None:
    write_identity_bundle(tmp_path, chip_px=CHIP)
    outputs = run(tmp_path, chips)
    np.testing.assert_array_equal(outputs["s2_identity"], chips["s2"])
    np.testing.assert_array_equal(outputs["probabilities"], chips["s2"])
    np.testing.assert_array_equal(outputs["s1_identity"], chips["s1"])
    np.testing.assert_array_equal(outputs["validity"], np.concatenate([chips["s2_valid"], chips["s1_valid"]], axis=1))


@pytest.mark.parametrize("write", [write_identity_bundle, write_blur_bundle])
def test_manifest_checksum_is_that_of_the_file(tmp_path: Path, write: Callable[..., BundleManifest]) -> None:
    manifest = write(tmp_path, chip_px=CHIP)
    content = (tmp_path / manifest.graph).read_bytes()
    assert manifest.files[0].sha256 == hashlib.sha256(content).hexdigest()
    assert type(manifest).model_validate_json((tmp_path / "manifest.json").read_text()).title == manifest.title


def test_blur_bundle_reaches_exactly_its_radius(tmp_path: Path, chips: Chips) -> None:
    write_blur_bundle(tmp_path, chip_px=CHIP)
    before = run(tmp_path, chips)["probabilities"]
    reach = 0
    for row in range(20, 20 + BLUR_ALIGNMENT_PX):
        changed = {name: values.copy() for name, values in chips.items()}
        changed["s2"][:, :, row, row] += 1.0
        rows, columns = np.nonzero(np.any(run(tmp_path, changed)["probabilities"] != before, axis=(0, 1)))
        reach = max(reach, np.abs(rows - row).max(), np.abs(columns - row).max())
    assert reach == BLUR_RADIUS_PX


def shifted_there_and_back(folder: Path, chips: Chips, shift_px: int) -> npt.NDArray[np.float32]:
    rolled = {name: np.roll(values, shift_px, axis=(2, 3)) for name, values in chips.items()}
    return np.roll(run(folder, rolled)["probabilities"], -shift_px, axis=(2, 3))


INNER = np.s_[:, :, 16:32, 16:32]


def test_blur_bundle_is_consistent_under_aligned_shifts(tmp_path: Path, chips: Chips) -> None:
    write_blur_bundle(tmp_path, chip_px=CHIP)
    moved = shifted_there_and_back(tmp_path, chips, BLUR_ALIGNMENT_PX)
    np.testing.assert_allclose(moved[INNER], run(tmp_path, chips)["probabilities"][INNER], atol=1e-6)


@pytest.mark.parametrize("shift_px", [1, 2])
def test_blur_bundle_shows_unaligned_shifts(tmp_path: Path, chips: Chips, shift_px: int) -> None:
    write_blur_bundle(tmp_path, chip_px=CHIP)
    moved = shifted_there_and_back(tmp_path, chips, shift_px)
    assert np.abs(moved[INNER] - run(tmp_path, chips)["probabilities"][INNER]).max() > 0.1


def test_blur_bundle_gives_a_simplex_that_varies_from_pixel_to_pixel(tmp_path: Path, chips: Chips) -> None:
    write_blur_bundle(tmp_path, chip_px=CHIP)
    outputs = run(tmp_path, chips)
    np.testing.assert_allclose(outputs["probabilities"].sum(axis=1), 1.0, atol=1e-6)
    assert outputs["probabilities"].std(axis=(0, 2, 3)).max() > 0.1
    total, aleatoric, embedding = np.moveaxis(outputs["variance"], 1, 0)
    np.testing.assert_allclose(total, aleatoric + embedding, atol=1e-6)
