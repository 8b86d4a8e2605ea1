"""Builds the spectral-rules bundle: land cover from published index thresholds, with the sensors' noise carried through.

A rule compares one feature with a threshold. Its membership is 2 logistic((feature - threshold) / width) - 1, so -1 far
below and +1 far above; it adds its evidence, in logits, times the membership, to the classes it speaks of.

The features are noisy, with variance v. With u = v / width**2 and k = pi / 8 (mean field, MacKay 1992):
    membership          tanh((feature - threshold) / (2 width sqrt(1 + k u)))
    membership variance (1 - membership**2) (1 - 1 / sqrt(1 + k u))
Without an observation the noise is infinite: membership 0, variance 1. Rules are taken as independent, so a class's
logit has the mean and the variance of its evidence, and these become probabilities and variances as in the trained model.

Run `python -m export.spectral_rules FOLDER` to build it; the one that is shipped is deploy/models/spectral-rules.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import onnx

from contract.bundle import PROBABILITIES, BundleManifest
from export.folder import GRAPH_NAME, write_graph, write_manifest
from export.graph import GraphWriter
from export.inputs import SENTINEL1_INPUT, SENTINEL2_INPUT
from export.outputs import VARIANCE_OUTPUT, model_outputs
from export.rule_table import LEGEND, OPTICAL_RULES, RADAR_RULES, Radar, Rule

CHIP_PX: Final = 256
BATCH: Final = 1
"""One chip of this size keeps every intermediate value in a processor's cache: 2.5 times faster than four of 512 px."""

S2_NOISE_FLOOR: Final = 0.005
S2_NOISE_SHARE: Final = 0.05
"""Reflectance noise 0.005 + 0.05 reflectance: the specification of ACIX (Doxani et al. 2018, doi:10.3390/rs10020352)."""
S1_NOISE_DB: Final = 1.0
"""Speckle of one 4.4-look pixel is about 2 dB; a composite of four dates has half of it."""
REFLECTANCE_RANGE: Final = (0.001, 2.0)
"""Reflectance is clipped to this: an index of numbers at or below zero means nothing."""
MEAN_FIELD: Final = np.pi / 8


DESCRIPTION: Final = (
    "Thresholds on NDVI, NDWI, brightness and radar backscatter of single pixels, taken from publications and from medians "
    "over BigEarthNet v2. Not trained, not validated, no claim of accuracy: it is there so that the system gives a map "
    "before a trained model does. Grassland and cropland hardly differ in these numbers, nor do bare ground, stubble and "
    "roofs; shrubs, wetland, mangroves, snow and moss are not told at all and come out as something else. The embedding "
    "variance is sensor noise carried through the rules, and rises where a sensor is missing."
)


def build_spectral_rules(folder: Path) -> BundleManifest:
    """The manifest of the bundle written to `folder`; the same bytes on every run."""
    manifest = BundleManifest(
        name="spectral-rules",
        version="1.0.0",
        kind="rules",
        description=DESCRIPTION,
        licence="Apache-2.0",
        files=(write_graph(folder, _graph()),),
        graph=GRAPH_NAME,
        inputs=(SENTINEL2_INPUT, SENTINEL1_INPUT),
        outputs=model_outputs(LEGEND, (PROBABILITIES, VARIANCE_OUTPUT.name)),
        legend=LEGEND,
        resolution_m=10,
        chip_px=CHIP_PX,
        batch=BATCH,
        halo_px=0,
        alignment_px=1,
    )
    write_manifest(folder, manifest)
    return manifest


def _graph() -> onnx.ModelProto:
    graph = GraphWriter("spectral-rules")
    s2, s2_valid = graph.inputs(SENTINEL2_INPUT, CHIP_PX)
    s1, s1_valid = graph.inputs(SENTINEL1_INPUT, CHIP_PX)
    s2_features, s2_noise = _optical_features(graph, s2)
    s1_noise = graph.constant(np.full((1, len(Radar), 1, 1), S1_NOISE_DB**2))
    optical = _evidence(graph, OPTICAL_RULES, s2_features, s2_noise, s2_valid)
    radar = _evidence(graph, RADAR_RULES, s1, s1_noise, s1_valid)
    mean, variance = (graph.node("Add", *pair) for pair in zip(optical, radar, strict=True))
    probabilities, bands = _predictive_distribution(graph, mean, variance, len(LEGEND.classes))
    graph.output(PROBABILITIES, probabilities, len(LEGEND.classes), CHIP_PX)
    graph.output(VARIANCE_OUTPUT.name, bands, len(VARIANCE_OUTPUT.bands), CHIP_PX)
    return graph.model()


def _optical_features(graph: GraphWriter, s2: str) -> tuple[str, str]:
    """The features of `Optical` and their noise variances."""
    lowest, highest = (graph.constant(bound) for bound in REFLECTANCE_RANGE)
    clipped = graph.node("Clip", s2, lowest, highest)
    deviation = graph.mix(clipped, S2_NOISE_SHARE * np.eye(4), np.full(4, S2_NOISE_FLOOR))
    noise = graph.node("Mul", deviation, deviation)
    mean_visible = np.array([[1, 1, 1, 0]]) / 3
    b03, b04, b08 = (graph.channels(clipped, channel) for channel in (1, 2, 3))
    b03_noise, b04_noise, b08_noise = (graph.channels(noise, channel) for channel in (1, 2, 3))
    ndvi, ndvi_noise = _normalised_difference(graph, (b08, b08_noise), (b04, b04_noise))
    ndwi, ndwi_noise = _normalised_difference(graph, (b03, b03_noise), (b08, b08_noise))
    features = graph.node("Concat", ndvi, ndwi, graph.mix(clipped, mean_visible), b08, axis=1)
    noises = graph.node("Concat", ndvi_noise, ndwi_noise, graph.mix(noise, mean_visible**2), b08_noise, axis=1)
    return features, noises


def _normalised_difference(graph: GraphWriter, plus: tuple[str, str], minus: tuple[str, str]) -> tuple[str, str]:
    """(a - b) / (a + b) and its first-order noise variance 4 (b^2 var a + a^2 var b) / (a + b)^4."""
    (a, a_noise), (b, b_noise) = plus, minus
    total = graph.node("Add", a, b)
    squared = graph.node("Mul", total, total)
    # Divided before it is squared: the fourth power of a dark pixel's sum leaves float32's comfortable range.
    a_share, b_share = (graph.node("Div", value, squared) for value in (a, b))
    terms = [
        graph.node("Mul", graph.node("Mul", share, share), noise)
        for share, noise in ((b_share, a_noise), (a_share, b_noise))
    ]
    variance = graph.node("Mul", graph.node("Add", *terms), graph.constant(4.0))
    return graph.node("Div", graph.node("Sub", a, b), total), variance


def _evidence(graph: GraphWriter, rules: Sequence[Rule], features: str, noise: str, valid: str) -> tuple[str, str]:
    """Mean and variance of every class's logit, from one sensor's rules."""
    scale = _one_per_rule(rules, [1 / rule.width for rule in rules])
    offset = np.array([-rule.threshold / rule.width for rule in rules])
    distance = graph.mix(features, scale, offset)
    shrink = _shrink(graph, graph.mix(noise, scale**2))
    half = graph.node("Mul", graph.node("Mul", distance, shrink), graph.constant(0.5))
    membership = graph.node("Mul", graph.node("Tanh", half), valid)
    doubt = _one_minus(graph, graph.node("Mul", shrink, valid))
    spread = graph.node("Mul", _one_minus(graph, graph.node("Mul", membership, membership)), doubt)
    weights = _evidence_matrix(rules)
    return graph.mix(membership, weights), graph.mix(spread, weights**2)


def _predictive_distribution(graph: GraphWriter, mean: str, variance: str, classes: int) -> tuple[str, str]:
    """Probabilities, and (total, aleatoric, embedding) variance of the one-hot label, from Gaussian logits.

    Mean field: p = softmax(m / sqrt(1 + k s)); D_c = sum over k != c of p_k (s_c + s_k) / (1 - p_c);
    Var[p_c] = p_c (1 - p_c) (1 - 1 / sqrt(1 + k D_c)).
    """
    probabilities = graph.node("Softmax", graph.node("Mul", mean, _shrink(graph, variance)), axis=1)
    others = np.ones((classes, classes)) - np.eye(classes)
    rest = graph.mix(probabilities, others)
    rest_variance = graph.mix(graph.node("Mul", probabilities, variance), others)
    average = graph.node("Div", rest_variance, graph.node("Max", rest, graph.constant(1e-30)))
    kept = _shrink(graph, graph.node("Add", variance, average))
    bernoulli = graph.node("Mul", probabilities, rest)
    sum_of_classes = np.ones((1, classes))
    aleatoric = graph.mix(graph.node("Mul", bernoulli, kept), sum_of_classes)
    embedding = graph.mix(graph.node("Mul", bernoulli, _one_minus(graph, kept)), sum_of_classes)
    # The total is their sum and not computed on its own, so that the three bands agree to the last bit.
    return probabilities, graph.node("Concat", graph.node("Add", aleatoric, embedding), aleatoric, embedding, axis=1)


def _shrink(graph: GraphWriter, variance: str) -> str:
    """1 / sqrt(1 + k variance)."""
    scaled = graph.node("Mul", variance, graph.constant(MEAN_FIELD))
    return graph.node("Reciprocal", graph.node("Sqrt", graph.node("Add", scaled, graph.constant(1.0))))


def _one_minus(graph: GraphWriter, value: str) -> str:
    return graph.node("Sub", graph.constant(1.0), value)


def _one_per_rule(rules: Sequence[Rule], values: Sequence[float]) -> npt.NDArray[np.float64]:
    """(rules, features): each rule's value in the column of its feature."""
    matrix = np.zeros((len(rules), len(type(rules[0].feature))))
    for row, (rule, value) in enumerate(zip(rules, values, strict=True)):
        matrix[row, rule.channel] = value
    return matrix


def _evidence_matrix(rules: Sequence[Rule]) -> npt.NDArray[np.float64]:
    """(classes, rules), with the mean over classes removed: softmax does not see it, the variance must not either."""
    matrix = np.array([[rule.evidence.get(entry.value, 0.0) for rule in rules] for entry in LEGEND.classes])
    centred: npt.NDArray[np.float64] = matrix - matrix.mean(axis=0)
    return centred


def main() -> None:
    """Build the bundle in the folder given on the command line."""
    parser = argparse.ArgumentParser(description="Build the spectral-rules bundle.")
    parser.add_argument("folder", type=Path)
    build_spectral_rules(parser.parse_args().folder)


if __name__ == "__main__":
    main()
