"""Every output has an encoding that holds what the graph gives."""

from pathlib import Path

import numpy as np
import pytest

from contract.bundle import BundleManifest
from contract.legend import WORLDCOVER
from export.outputs import model_outputs
from tests.bundles import write_identity_bundle
from workers.products.spec import encode, raster_specs

NAMES = ("probabilities", "variance", "latent_variance", "entropy", "margin", "model_doubt", "ood_distance")
LEGEND = WORLDCOVER.subset(10, 20, 30, 40, 50, 60, 80, 90)
HIGHEST = {
    "probabilities": 1.0,
    "variance": 1 - 1 / 11,
    "latent_variance": 1.0,
    "entropy": np.log(11),
    "margin": 1.0,
    "model_doubt": np.log(11),
    "ood_distance": 60.0,
}
"""With all classes of WorldCover; a distance has no highest value, and is cut above 65."""
STEP = {
    "probabilities": 0.004,
    "variance": 1e-4,
    "latent_variance": 2e-5,
    "entropy": 1e-4,
    "margin": 0.004,
    "model_doubt": 1e-4,
    "ood_distance": 1e-3,
}


@pytest.fixture
def manifest(tmp_path: Path) -> BundleManifest:
    return write_identity_bundle(tmp_path)


@pytest.mark.parametrize("name", NAMES)
def test_every_value_comes_back_to_half_a_step(manifest: BundleManifest, name: str) -> None:
    (output,) = model_outputs(LEGEND, (name,))
    given = manifest.model_copy(update={"outputs": (output,)})
    spec = raster_specs(given, (name,))[-1]
    values = np.linspace(0, HIGHEST[name], 700, dtype=np.float32).reshape(1, 20, 35)
    stored = encode(values, spec, np.zeros((20, 35), bool))
    assert (stored != spec.nodata).all()
    np.testing.assert_allclose(stored * spec.scale + spec.offset, values, atol=STEP[name] / 2 * 1.001)


def test_a_conformal_set_of_all_classes_is_not_taken_for_nodata(manifest: BundleManifest) -> None:
    bands = ("size_0.1", "classes_0.1")
    (output,) = model_outputs(WORLDCOVER, ("conformal_set",), bands)
    spec = raster_specs(manifest.model_copy(update={"outputs": (output,)}), ("conformal_set",))[-1]
    everything = np.array([11.0, 2.0**11 - 1], np.float32).reshape(2, 1, 1)
    assert encode(everything, spec, np.zeros((1, 1), bool)).ravel().tolist() == [11, 2047]
    assert spec.overviews == "NEAREST"
    assert "10 Moss and lichen" in output.description


def test_more_classes_than_the_mask_has_bits_are_refused() -> None:
    first = WORLDCOVER.classes[0]
    many = tuple(first.model_copy(update={"value": value}) for value in range(1, 17))
    legend = WORLDCOVER.model_copy(update={"classes": many})
    with pytest.raises(ValueError, match="16 classes do not fit a mask of 15 bits"):
        model_outputs(legend, ("conformal_set",), ("size_0.1", "classes_0.1"))


def test_an_output_that_nobody_described_is_refused() -> None:
    with pytest.raises(ValueError, match=r"no description of the outputs \['conformal_set', 'novelty'\]"):
        model_outputs(LEGEND, ("entropy", "conformal_set", "novelty"))
