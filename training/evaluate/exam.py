"""Exam: a model before labelled samples, asked as a mapping run would ask it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Final, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from scipy.ndimage import maximum_filter, minimum_filter
from torch import Tensor
from torch.nn import functional

from contract.bands import Modality
from contract.errors import SampleInvalid
from contract.legend import Legend
from training.data.legends import class_indices
from training.data.sample import NO_LABEL, BandChoice, Sample
from training.evaluate.answers import Answers, Flags, Indices, join
from training.evaluate.views import View, as_given
from training.tensors import Inputs, Prediction, Predictor

Batch = TypeVar("Batch", Inputs, Prediction)

NEIGHBOURHOOD_PX: Final = 3
"""Side of the square in which labels must agree for a pixel to be no boundary."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """How samples are put before a model, and how much of each is kept."""

    bands: BandChoice = field(default_factory=BandChoice)
    halo_px: int = 0
    """Unobserved margin around each sample, at least the radius of the model's receptive field; whole strides."""
    alignment_px: int = 1
    """Stride alignment: heights and widths are padded to multiples of it."""
    pixels_per_sample: int = 2000
    """Most labelled pixels kept of a sample, drawn at random."""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.halo_px % self.alignment_px:
            raise ValueError(f"halo of {self.halo_px} px is no multiple of the {self.alignment_px} px alignment")

    def margins(self, origin: tuple[int, int]) -> tuple[int, int]:
        """Rows above and columns left of a sample: the halo, and what is left to a whole stride of the lattice."""
        row, column = origin
        return self.halo_px + row % self.alignment_px, self.halo_px + column % self.alignment_px

    def padded(self, inputs: Inputs, origin: tuple[int, int] = (0, 0)) -> Inputs:
        """The batch with the halo around it, filled up to whole strides on every side.

        Args:
            inputs: Of one shape.
            origin: Row and column of the first pixel on the lattice on whose whole strides a map's chips start.
        """
        above, left = self.margins(origin)
        rows, columns = inputs.s2.shape[-2:]
        below, right = (self.halo_px - length % -self.alignment_px for length in (above + rows, left + columns))
        return each_plane(inputs, lambda plane: functional.pad(plane, (left, right, above, below)))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Exam:
    """A model and the samples it is asked about."""

    predictor: Predictor
    """Takes batches on the CPU."""
    samples: Sequence[Sample]
    """Each is taken once per view, by index; it may be read only then."""
    legend: Legend
    """Of the model: its classes are the channels of the probabilities."""
    conditions: Conditions = Conditions()

    def __post_init__(self) -> None:
        if not len(self.samples):
            raise ValueError("an exam of 0 samples; need at least one")

    def answers(self, view: View = as_given) -> Answers:
        """What the model says of the pixels that are labelled and that the view shows to at least one sensor.

        Which pixels of a sample are kept depends on the seed and on the sample's index, and as little as possible on the
        view: views of the same samples have most of their pixels in common.

        Raises:
            SampleInvalid: A sample has no label map.
        """
        parts = [self._ask(index, self.samples[index], view) for index in range(len(self.samples))]
        places = tuple(dict.fromkeys(part.places[0] for part in parts))
        return join([_placed(part, places) for part in parts])

    def predict(self, inputs: Inputs, origin: tuple[int, int] = (0, 0)) -> Prediction:
        """The prediction at every pixel of a batch, padded for the model and cropped afterwards, on the CPU."""
        rows, columns = inputs.s2.shape[-2:]
        above, left = self.conditions.margins(origin)
        inside = np.s_[..., above : above + rows, left : left + columns]
        with torch.inference_mode():
            answer = self.predictor(self.conditions.padded(inputs, origin))
        return each_plane(answer, lambda plane: plane[inside].float().cpu())

    def _ask(self, index: int, sample: Sample, view: View) -> Answers:
        random = np.random.default_rng((self.conditions.seed, index))
        labels = _labels(sample)
        order = random.random(labels.shape)
        generator = torch.Generator().manual_seed(int(random.integers(1 << 62)))
        shown = view(inputs_of(sample, self.conditions.bands), generator)
        observed = (shown.inputs.s2_valid + shown.inputs.s1_valid)[0, 0].numpy() > 0
        classes = class_indices(labels, self.legend)
        chosen = _first(observed & (classes >= 0), order, self.conditions.pixels_per_sample)
        answer = self.predict(shown.inputs, sample.lattice_origin)
        self._refuse_unusable(answer, sample)

        def at_chosen(plane: Tensor) -> npt.NDArray[np.float32]:
            return np.asarray(plane[0].numpy()[..., *chosen.T], np.float32)

        return Answers(
            places=(sample.entry.place,),
            outside_legend=int((observed & (labels != NO_LABEL) & (classes < 0)).sum()),
            probabilities=at_chosen(answer.probabilities).T,
            label=classes[*chosen.T],
            total=at_chosen(answer.total),
            aleatoric=at_chosen(answer.aleatoric),
            embedding=at_chosen(answer.embedding),
            latent_variance=at_chosen(answer.latent_variance),
            embedding_norm=at_chosen(answer.embedding_norm),
            doubt=None if answer.doubt is None else at_chosen(answer.doubt),
            ood_distance=None if answer.ood_distance is None else at_chosen(answer.ood_distance),
            place=np.zeros(len(chosen), np.int64),
            sample=np.full(len(chosen), index, np.int64),
            position=chosen,
            at_boundary=boundaries(labels)[*chosen.T],
            spoiled=shown.spoiled[0, 0].numpy()[*chosen.T],
        )

    def _refuse_unusable(self, answer: Prediction, sample: Sample) -> None:
        classes = len(self.legend.classes)
        if answer.probabilities.shape[1] != classes:
            raise ValueError(f"model gives {answer.probabilities.shape[1]} classes; the legend has {classes}")
        for name in _present(answer):
            if not bool(getattr(answer, name).isfinite().all()):
                raise ValueError(f"{name} of the model is not finite everywhere in sample {sample.entry.name}")


def inputs_of(sample: Sample, bands: BandChoice) -> Inputs:
    """A sample as a batch of one; a sensor that it lacks is nowhere valid."""
    s2, s2_valid = _planes(sample, Modality.S2, len(bands.s2))
    s1, s1_valid = _planes(sample, Modality.S1, len(bands.s1))
    return Inputs(s2=s2, s2_valid=s2_valid, s1=s1, s1_valid=s1_valid)


def boundaries(labels: npt.NDArray[np.uint8]) -> Flags:
    """True at labelled pixels with a label of another class among their eight neighbours."""
    highest = maximum_filter(labels, NEIGHBOURHOOD_PX, mode="nearest")
    lowest = minimum_filter(np.where(labels == NO_LABEL, 255, labels), NEIGHBOURHOOD_PX, mode="nearest")
    return np.asarray((labels != NO_LABEL) & (lowest < highest))


def each_plane(batch: Batch, change: Callable[[Tensor], Tensor]) -> Batch:
    """The batch with every tensor changed alike."""
    return replace(batch, **{name: change(getattr(batch, name)) for name in _present(batch)})


def _present(batch: Inputs | Prediction) -> list[str]:
    """Names of the planes that the batch has."""
    return [plane.name for plane in fields(batch) if getattr(batch, plane.name) is not None]


def _placed(part: Answers, places: tuple[str, ...]) -> Answers:
    """The answers of one place as one of several."""
    return replace(part, places=places, place=np.full(len(part), places.index(part.places[0])))


def _planes(sample: Sample, modality: Modality, bands: int) -> tuple[Tensor, Tensor]:
    observation = sample.observations.get(modality)
    if observation is None:
        shape = next(iter(sample.observations.values())).valid.shape
        return torch.zeros((1, bands, *shape)), torch.zeros((1, 1, *shape))
    valid = torch.from_numpy(observation.valid.astype(np.float32))
    return torch.from_numpy(observation.values)[None], valid[None, None]


def _labels(sample: Sample) -> npt.NDArray[np.uint8]:
    if sample.labels is None:
        raise SampleInvalid(path=sample.entry.name, found="no label map", needed="one, to score a model against")
    return sample.labels


def _first(eligible: Flags, order: npt.NDArray[np.float64], most: int) -> Indices:
    """Row and column (n, 2) of the eligible pixels that come first in a random order, sorted by row and column."""
    flat = np.flatnonzero(eligible)
    kept = np.sort(flat[np.argsort(order.ravel()[flat])[:most]])
    return np.stack(np.unravel_index(kept, eligible.shape), axis=1)
