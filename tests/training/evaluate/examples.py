"""A model that is a formula, invented landscapes for it to map, and answers made of bare arrays."""

from collections.abc import Sequence
from datetime import date
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import gaussian_filter
from torch.nn.functional import avg_pool2d

from contract.bands import Modality
from contract.legend import WORLDCOVER
from training.data.sample import Entry, Observation, Sample
from training.evaluate.answers import Answers
from training.evaluate.exam import Conditions, Exam
from training.tensors import Inputs, Prediction

LEGEND = WORLDCOVER.subset(10, 40, 50, 80)
CENTRES = (-1.5, -0.5, 0.5, 1.5)
"""Where each class lies on the only axis of the formula's embedding."""
SHAPE = (40, 56)
PLACES = ("T32ABC", "T33DEF", "T34GHJ", "T35KLM")


def formula(inputs: Inputs) -> Prediction:
    """One Gaussian expert per sensor, fused with a standard normal prior; nearer centres are more probable.

    S2's expert widens with brightness (as under cloud), S1's with the local spread of VV (as under speckle).
    """
    bright = inputs.s2.mean(dim=1)
    vv = inputs.s1[:, :1]
    spread = (avg_pool2d(vv.square(), 3, 1, 1) - avg_pool2d(vv, 3, 1, 1).square())[:, 0]
    precision2 = inputs.s2_valid[:, 0] / (0.05 + 20 * (bright - 0.35).relu())
    precision1 = inputs.s1_valid[:, 0] / (0.5 + spread / 10)
    variance = 1 / (1 + precision2 + precision1)
    mean = (precision2 * (bright - 0.2) * 15 + precision1 * (vv[:, 0] + 12) / 4) * variance
    distance = (mean.unsqueeze(1) - torch.tensor(CENTRES).reshape(1, -1, 1, 1)).square()
    probabilities = (-distance / (0.2 + variance.unsqueeze(1))).softmax(dim=1)
    total = (probabilities * (1 - probabilities)).sum(dim=1)
    return Prediction(
        probabilities=probabilities,
        total=total,
        aleatoric=total * (1 - variance),
        embedding=total * variance,
        latent_variance=variance,
        embedding_norm=mean.abs(),
    )


def landscape(index: int = 0, *, modalities: Sequence[Modality] = tuple(Modality), noise: float = 0.002) -> Sample:
    """A sample of one of `PLACES`, with a patch of shrubs (no class of `LEGEND`), unlabelled rows and gaps.

    Args:
        index: Seed; also decides the place.
        modalities: Sensors that saw it.
        noise: Of each S2 band, surface reflectance.
    """
    random = np.random.default_rng(index)
    rank = gaussian_filter(random.normal(size=SHAPE), 4).argsort(axis=None).argsort().reshape(SHAPE)
    classes = rank * len(CENTRES) // rank.size
    latent = np.array(CENTRES)[classes] + random.normal(0, 0.35, SHAPE)
    labels = np.array([10, 40, 50, 80], np.uint8)[classes]
    labels[5:9, 3:10] = 20
    labels[-3:] = 0
    s2 = np.repeat((latent / 15 + 0.2)[None], 4, axis=0) + random.normal(0, noise, (4, *SHAPE))
    s1 = np.stack([latent * 4 - 12, latent * 4 - 18]) + random.normal(0, 2, (2, *SHAPE))
    observations = {Modality.S2: _observation(s2, np.s_[:2]), Modality.S1: _observation(s1, np.s_[:, :2])}
    return Sample(
        entry=Entry(
            name=f"landscape {index}",
            place=PLACES[index % len(PLACES)],
            acquired=date(2018, 6, 1),
            files=(Path("invented.tif"),),
        ),
        observations={modality: observations[modality] for modality in modalities},
        labels=labels,
    )


def exam(count: int) -> Exam:
    """The formula before some landscapes."""
    return Exam(
        predictor=formula,
        samples=[landscape(index) for index in range(count)],
        legend=LEGEND,
        conditions=Conditions(pixels_per_sample=400),
    )


def answers(
    probabilities: ArrayLike,
    label: ArrayLike,
    *,
    place: ArrayLike | None = None,
    doubt: ArrayLike | None = None,
    places: tuple[str, ...] = ("a",),
) -> Answers:
    """Answers of bare arrays; every variance is `doubt`, and pixels of other places than the first come by `place`."""
    probabilities = np.asarray(probabilities, np.float32)
    count = len(probabilities)
    doubt = np.zeros(count, np.float32) if doubt is None else np.asarray(doubt, np.float32)
    return Answers(
        places=places,
        outside_legend=0,
        probabilities=probabilities,
        label=np.asarray(label, np.int64),
        total=doubt,
        aleatoric=doubt,
        embedding=doubt,
        latent_variance=doubt,
        embedding_norm=-doubt,
        place=np.zeros(count, np.int64) if place is None else np.asarray(place, np.int64),
        sample=np.zeros(count, np.int64),
        position=np.stack([np.arange(count), np.zeros(count)], axis=1).astype(np.int64),
        at_boundary=np.zeros(count, bool),
        spoiled=np.zeros(count, bool),
        doubt=doubt,
        ood_distance=doubt,
    )


def random_answers(count: int, *, places: int = 5, classes: int = 4, seed: int = 0) -> Answers:
    """Answers with miscalibrated probabilities, a class that is rare, and places that differ in size and difficulty."""
    random = np.random.default_rng(seed)
    place = np.sort(random.integers(0, places, count) * random.integers(0, 2, count))
    label = np.minimum(random.geometric(0.5, count) - 1, classes - 1)
    logits = random.normal(size=(count, classes)) + (1 + 0.3 * place)[:, None] * np.eye(classes)[label]
    probabilities = np.exp(1.7 * logits)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    names = tuple(f"place {index}" for index in range(places))
    return answers(probabilities, label, place=place, doubt=random.random(count), places=names)


def _observation(values: NDArray[np.float64], gap: tuple[slice, ...] | slice) -> Observation:
    valid = np.ones(SHAPE, bool)
    valid[gap] = False
    return Observation(values=(values * valid).astype(np.float32), valid=valid)
