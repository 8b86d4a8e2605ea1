"""What a graph gives, how it is stored, and in plain words what each number says and what it does not say."""

from collections.abc import Sequence
from typing import Final

from contract.bundle import PROBABILITIES, Encoding, ModelOutput
from contract.legend import Legend

MOST_SET_CLASSES: Final = 15
"""Bits of a conformal set's mask: with sixteen, the set of all classes would be nodata."""

SHARE_ENCODING: Final = Encoding(dtype="uint8", nodata=255, scale=0.004)
"""0..250 for 0..1."""
VARIANCE_ENCODING: Final = Encoding(dtype="uint16", nodata=65535, scale=1e-4)
"""0 to 6.5534."""
MASK_ENCODING: Final = Encoding(dtype="uint16", nodata=65535)

VARIANCE_OUTPUT: Final = ModelOutput(
    name="variance",
    bands=("total", "aleatoric", "embedding"),
    description=(
        "Variance of the one-hot label under the predicted distribution, 0 to 1 - 1/classes. aleatoric: classes overlap "
        "given a known input; embedding: the input leaves open where in the classes' space the pixel lies (noise, cloud, "
        "missing sensor); total: their sum. None of them tells whether the model itself is right."
    ),
    encoding=VARIANCE_ENCODING,
    always=True,
)
OPTIONAL_OUTPUTS: Final = (
    ModelOutput(
        name="latent_variance",
        bands=("latent_variance",),
        description=(
            "Mean variance of the embedding's dimensions: 1 where nothing is known of the pixel but what is true of all "
            "pixels, towards 0 where the input settles it. It comes before any class, so it is high under a cloud also "
            "where the class is plain, and says nothing about overlapping classes or about the model itself."
        ),
        # A product of experts with a standard normal prior is never wider than the prior.
        encoding=Encoding(dtype="uint16", nodata=65535, scale=2e-5),
    ),
    ModelOutput(
        name="entropy",
        bands=("entropy",),
        unit="nat",
        description=(
            "Entropy of the predicted probabilities: 0 where one class has them all, the logarithm of the number of classes "
            "where they are equal. It does not tell classes that overlap from an input that was not seen, nor whether the "
            "model itself is right."
        ),
        encoding=VARIANCE_ENCODING,
    ),
    ModelOutput(
        name="margin",
        bands=("margin",),
        description=(
            "1 - (highest - second highest probability): 1 where two classes are equally probable, 0 where one is certain. "
            "It looks at two classes only, and does not say why they are close or whether the model is right."
        ),
        encoding=SHARE_ENCODING,
    ),
    ModelOutput(
        name="model_doubt",
        bands=("model_doubt",),
        unit="nat",
        description=(
            "What several read-outs, each fitted on other places of the training data, disagree on (mutual information): 0 "
            "where all agree. The encoder is the same for all of them, so where it is blind they can agree and be wrong; "
            "what the input leaves open is in the variance, not here."
        ),
        encoding=VARIANCE_ENCODING,
    ),
    ModelOutput(
        name="ood_distance",
        bands=("ood_distance",),
        description=(
            "How far the embedding lies from those of the training data: Mahalanobis distance as a multiple of its root "
            "mean square on training ground: about 1 there, more on ground unlike it, under cloud and where a sensor is "
            "missing. A small distance is no promise that the class is right."
        ),
        encoding=Encoding(dtype="uint16", nodata=65535, scale=1e-3),
    ),
)
CONFORMAL_DESCRIPTION: Final = (
    "For each error rate alpha: how many classes cannot be ruled out, and which (bit i stands for the i-th class of the "
    "legend: {classes}). If new ground is like the calibration places, sets miss the true class at most in a share alpha of "
    "the pixels, on the average over places; for no single place, class or pixel is that promised, and on other ground it "
    "does not hold."
)


def model_outputs(
    legend: Legend, names: Sequence[str], conformal_bands: tuple[str, ...] = ()
) -> tuple[ModelOutput, ...]:
    """The outputs of these names, in this order.

    Args:
        legend: The model's classes.
        names: As the graph gives them.
        conformal_bands: Names of the bands of `conformal_set`.

    Raises:
        ValueError: There is no output of that name, or its mask cannot hold the legend's classes.
    """
    known = {entry.name: entry for entry in (probabilities_output(legend), VARIANCE_OUTPUT, *OPTIONAL_OUTPUTS)}
    if conformal_bands:
        known["conformal_set"] = conformal_output(legend, conformal_bands)
    if unknown := [name for name in names if name not in known]:
        raise ValueError(f"no description of the outputs {unknown}; there are {[*known]}")
    return tuple(known[name] for name in names)


def probabilities_output(legend: Legend) -> ModelOutput:
    """One band per class."""
    return ModelOutput(
        name=PROBABILITIES,
        bands=tuple(entry.name for entry in legend.classes),
        description="Share of belief in each class; sums to 1.",
        encoding=SHARE_ENCODING,
    )


def conformal_output(legend: Legend, bands: tuple[str, ...]) -> ModelOutput:
    """Sizes and bit masks of sets of classes.

    Raises:
        ValueError: The mask cannot hold the legend's classes.
    """
    if len(legend.classes) > MOST_SET_CLASSES:
        raise ValueError(f"{len(legend.classes)} classes do not fit a mask of {MOST_SET_CLASSES} bits")
    classes = ", ".join(f"{bit} {entry.name}" for bit, entry in enumerate(legend.classes))
    return ModelOutput(
        name="conformal_set",
        bands=bands,
        description=CONFORMAL_DESCRIPTION.format(classes=classes),
        encoding=MASK_ENCODING,
        overviews="NEAREST",  # an average of bits would be no set
    )
