from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
from scipy.stats import spearmanr

from contract.bundle import MANIFEST_NAME, BundleManifest
from export.rule_table import LEGEND, OPTICAL_RULES, RADAR_RULES, Optical, Radar
from export.spectral_rules import CHIP_PX, build_spectral_rules

SHIPPED = Path(__file__).resolve().parents[2] / "deploy" / "models" / "spectral-rules"
VALUES = [entry.value for entry in LEGEND.classes]
CLASSES = len(VALUES)

Array = npt.NDArray[np.float64]

# Reflectance B02 B03 B04 B08 and VV VH in dB: medians over BigEarthNet v2 patches, and dry soil.
TYPICAL = {
    10: (0.019, 0.034, 0.023, 0.233, -9.7, -15.3),
    30: (0.032, 0.061, 0.046, 0.337, -12.1, -18.9),
    60: (0.10, 0.14, 0.19, 0.26, -13.0, -22.0),
    80: (0.012, 0.010, 0.009, 0.011, -21.2, -26.3),
}


@pytest.fixture(scope="module")
def session() -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(SHIPPED / "model.onnx", providers=["CPUExecutionProvider"])


def predict(
    session: onnxruntime.InferenceSession, pixels: Array, s2_valid: npt.ArrayLike = 1, s1_valid: npt.ArrayLike = 1
) -> tuple[Array, Array]:
    """Probabilities (pixels, classes) and variance (pixels, 3) of up to one row of a chip, (pixels, 4 + 2)."""
    count = len(pixels)
    chips = {name: np.zeros((1, bands, CHIP_PX, CHIP_PX), np.float32) for name, bands in (("s2", 4), ("s1", 2))}
    valid = {name: np.zeros((1, 1, CHIP_PX, CHIP_PX), np.float32) for name in ("s2_valid", "s1_valid")}
    valid["s2_valid"][0, 0, 0, :count] = s2_valid
    valid["s1_valid"][0, 0, 0, :count] = s1_valid
    chips["s2"][0, :, 0, :count] = pixels[:, :4].T * valid["s2_valid"][0, :, 0, :count]
    chips["s1"][0, :, 0, :count] = pixels[:, 4:].T * valid["s1_valid"][0, :, 0, :count]
    probabilities, variance = session.run(["probabilities", "variance"], chips | valid)
    return (
        probabilities[0, :, 0, :count].T.astype(np.float64),
        variance[0, :, 0, :count].T.astype(np.float64),
    )


def random_pixels(count: int) -> Array:
    random = np.random.default_rng(7)
    pixels = np.hstack([random.uniform(-0.01, 0.5, (count, 4)), random.uniform(-28, -2, (count, 2))])
    return pixels.astype(np.float32).astype(np.float64)


def clipped(pixels: Array) -> Array:
    return np.hstack([np.clip(pixels[:, :4], 0.001, 2.0), pixels[:, 4:]])


def features_of(pixels: Array) -> dict[Optical | Radar, Array]:
    b02, b03, b04, b08, vv, vh = pixels.T
    return {
        Optical.NDVI: (b08 - b04) / (b08 + b04),
        Optical.NDWI: (b03 - b08) / (b03 + b08),
        Optical.BRIGHTNESS: (b02 + b03 + b04) / 3,
        Optical.NIR: b08,
        Radar.VV: vv,
        Radar.VH: vh,
    }


def deviation_of(pixels: Array) -> Array:
    return np.hstack([0.005 + 0.05 * pixels[:, :4], np.ones((len(pixels), 2))])


def noise_of(pixels: Array) -> dict[Optical | Radar, Array]:
    """Feature variances from central differences over bands."""
    variance = {feature: np.zeros(len(pixels)) for feature in (*Optical, *Radar)}
    for band in range(6):
        step = 1e-6 * np.eye(6)[band]
        above, below = features_of(pixels + step), features_of(pixels - step)
        for feature in variance:
            slope = (above[feature] - below[feature]) / 2e-6
            variance[feature] += (slope * deviation_of(pixels)[:, band]) ** 2
    return variance


def expected(pixels: Array, s2_valid: Array, s1_valid: Array) -> tuple[Array, Array]:
    """Rule by rule and class by class, as the module's documentation words it."""
    features, noise, k = features_of(clipped(pixels)), noise_of(clipped(pixels)), np.pi / 8
    mean, variance = np.zeros((2, len(pixels), CLASSES))
    for rule in (*OPTICAL_RULES, *RADAR_RULES):
        seen = s2_valid if isinstance(rule.feature, Optical) else s1_valid
        widening = np.sqrt(1 + k * noise[rule.feature] / rule.width**2)
        logistic = 1 / (1 + np.exp(-(features[rule.feature] - rule.threshold) / (rule.width * widening)))
        membership = np.where(seen, 2 * logistic - 1, 0.0)
        spread = np.where(seen, (1 - membership**2) * (1 - 1 / widening), 1.0)
        evidence = np.array([rule.evidence.get(value, 0.0) for value in VALUES])
        evidence -= evidence.mean()
        mean += membership[:, np.newaxis] * evidence
        variance += spread[:, np.newaxis] * evidence**2
    scaled = mean / np.sqrt(1 + k * variance)
    p = np.exp(scaled) / np.exp(scaled).sum(axis=1, keepdims=True)
    embedding = np.zeros(len(pixels))
    for c in range(CLASSES):
        others = [other for other in range(CLASSES) if other != c]
        d = sum(p[:, o] * (variance[:, c] + variance[:, o]) for o in others) / p[:, others].sum(axis=1)
        embedding += p[:, c] * (1 - p[:, c]) * (1 - 1 / np.sqrt(1 + k * d))
    total = (p * (1 - p)).sum(axis=1)
    return p, np.stack([total, total - embedding, embedding], axis=1)


@pytest.mark.parametrize("s2_valid", [0, 1])
@pytest.mark.parametrize("s1_valid", [0, 1])
def test_graph_computes_what_its_documentation_says(
    session: onnxruntime.InferenceSession, s2_valid: int, s1_valid: int
) -> None:
    pixels = random_pixels(CHIP_PX)
    probabilities, variance = predict(session, pixels, s2_valid, s1_valid)
    reference = expected(pixels, np.full(CHIP_PX, s2_valid == 1), np.full(CHIP_PX, s1_valid == 1))
    np.testing.assert_allclose(probabilities, reference[0], rtol=0, atol=1e-6)
    np.testing.assert_allclose(variance, reference[1], rtol=0, atol=1e-6)


def test_probabilities_are_a_simplex_and_variance_keeps_its_law(session: onnxruntime.InferenceSession) -> None:
    random = np.random.default_rng(8)
    probabilities, variance = predict(
        session, random_pixels(CHIP_PX), random.integers(0, 2, CHIP_PX), random.integers(0, 2, CHIP_PX)
    )
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, atol=1e-6)
    total, aleatoric, embedding = variance.astype(np.float32).T
    np.testing.assert_array_equal(total, aleatoric + embedding)
    np.testing.assert_allclose(total, 1 - (probabilities**2).sum(axis=1), atol=1e-6)
    assert probabilities.min() >= 0
    assert min(aleatoric.min(), embedding.min()) >= 0
    assert total.max() <= 1 - 1 / CLASSES + 1e-6


@pytest.mark.parametrize("value", TYPICAL)
def test_typical_pixels_come_out_as_their_class(session: onnxruntime.InferenceSession, value: int) -> None:
    probabilities, _ = predict(session, np.array([TYPICAL[value]]))
    assert VALUES[int(probabilities[0].argmax())] == value


def test_variance_rises_when_a_sensor_is_missing_and_nothing_observed_is_uniform(
    session: onnxruntime.InferenceSession,
) -> None:
    pixels = np.array([TYPICAL[10]] * 4)
    probabilities, variance = predict(session, pixels, [1, 1, 0, 0], [1, 0, 1, 0])
    both, s2_only, s1_only, neither = variance[:, 2]
    assert both < s2_only < s1_only < neither
    np.testing.assert_allclose(probabilities[3], 1 / CLASSES, atol=1e-7)


def test_embedding_variance_follows_simulated_noise(session: onnxruntime.InferenceSession) -> None:
    """2000 noisy readings of each of 200 pixels between the typical ones, through the rules without any noise model."""
    random = np.random.default_rng(9)
    first, second = (np.array(list(TYPICAL.values()))[random.integers(0, len(TYPICAL), 200)] for _ in range(2))
    pixels = first + random.uniform(0, 1, (200, 1)) * (second - first)
    readings = pixels + random.normal(size=(2000, 200, 6)) * deviation_of(pixels)
    features = features_of(clipped(readings.reshape(-1, 6)))
    logits = np.zeros((400_000, CLASSES))
    for rule in (*OPTICAL_RULES, *RADAR_RULES):
        membership = np.tanh((features[rule.feature] - rule.threshold) / (2 * rule.width))
        logits += membership[:, np.newaxis] * np.array([rule.evidence.get(value, 0.0) for value in VALUES])
    sampled = (np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)).reshape(2000, 200, CLASSES)
    probabilities, variance = predict(session, pixels)
    assert np.abs(probabilities - sampled.mean(axis=0)).mean() < 0.02
    simulated = sampled.var(axis=0).sum(axis=1)
    assert 0.8 < np.median(variance[:, 2] / simulated) < 1.25
    assert spearmanr(variance[:, 2], simulated).statistic > 0.7


def test_shipped_bundle_is_what_the_builder_makes(tmp_path: Path) -> None:
    build_spectral_rules(tmp_path)
    for name in ("model.onnx", MANIFEST_NAME):
        assert (tmp_path / name).read_bytes() == (SHIPPED / name).read_bytes()


def test_manifest_claims_no_training() -> None:
    manifest = BundleManifest.model_validate_json((SHIPPED / MANIFEST_NAME).read_text())
    assert (manifest.kind, manifest.training, manifest.calibration) == ("rules", None, None)


def test_shipped_graph_passes_the_checker_and_draws_no_random_numbers() -> None:
    model = onnx.load(SHIPPED / "model.onnx")
    onnx.checker.check_model(model, full_check=True)
    assert not [node.op_type for node in model.graph.node if "Random" in node.op_type or node.op_type == "Bernoulli"]
