"""What a graph ought to say: the torch model in double precision, and the further outputs in numpy."""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import entr
from torch import Tensor

from contract.bands import Modality
from contract.bundle import PROBABILITIES, ConformalThreshold
from export.torch_graph import OBSERVABLE, lac
from training.evaluate.conformal import prediction_sets
from training.models.mapping import MappingModel
from training.tensors import Inputs, Prediction

Doubles = npt.NDArray[np.float64]
SETS: Final = "conformal_set"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Expected:
    """What the model says of one batch."""

    outputs: dict[str, Doubles]
    """By name, (N, bands, H, W)."""
    thresholds: tuple[ConformalThreshold, ...]

    def errors(self, name: str, found: npt.NDArray[np.float32]) -> Doubles:
        """How far each number of an output is off, relative to 1 or to its own size, whichever is larger; inf for NaN.

        A class that is wrongly in a conformal set, or out of it, is off by how far its probability is from what decides;
        a size that is not that of its set is off by 1.
        """
        if name == SETS:
            errors = _set_errors(self.outputs[PROBABILITIES], found, self.thresholds)
        else:
            expected = self.outputs[name]
            errors = np.abs(found.astype(np.float64) - expected) / np.maximum(1, np.abs(expected))
        return np.nan_to_num(errors, nan=np.inf, posinf=np.inf)


class Reference:
    """A model as the judge of graphs."""

    def __init__(self, model: MappingModel, thresholds: Sequence[ConformalThreshold] = ()) -> None:
        self._model, self._thresholds = deepcopy(model).cpu().double().eval(), lac(thresholds)

    def __call__(self, chips: Inputs) -> Expected:
        """What the model says of chips, whatever their masks hide."""
        observed = Inputs(
            s2=_observed(chips.s2, chips.s2_valid, Modality.S2),
            s2_valid=chips.s2_valid.double(),
            s1=_observed(chips.s1, chips.s1_valid, Modality.S1),
            s1_valid=chips.s1_valid.double(),
        )
        with torch.inference_mode():
            return Expected(outputs=_outputs(self._model(observed)), thresholds=self._thresholds)


def _observed(values: Tensor, valid: Tensor, modality: Modality) -> Tensor:
    known = np.clip(values.double().numpy(), *OBSERVABLE[modality])
    return torch.from_numpy(np.where(valid.numpy() > 0, known, 0.0))


def _outputs(prediction: Prediction) -> dict[str, Doubles]:
    probabilities = prediction.probabilities.numpy()
    second, first = np.moveaxis(np.partition(probabilities, -2, axis=1)[:, -2:], 1, 0)
    planes = {
        "latent_variance": prediction.latent_variance,
        "model_doubt": prediction.doubt,
        "ood_distance": prediction.ood_distance,
    }
    return {
        PROBABILITIES: probabilities,
        "variance": torch.stack([prediction.total, prediction.aleatoric, prediction.embedding], dim=1).numpy(),
        "entropy": entr(probabilities).sum(axis=1, keepdims=True),
        "margin": (1 - (first - second))[:, np.newaxis],
        **{name: plane.numpy()[:, np.newaxis] for name, plane in planes.items() if plane is not None},
    }


def _set_errors(
    probabilities: Doubles, found: npt.NDArray[np.float32], thresholds: Sequence[ConformalThreshold]
) -> Doubles:
    """(N, thresholds, H, W)."""
    classes = probabilities.shape[1]
    pixels = np.moveaxis(probabilities, 1, -1)  # (N, H, W, K)
    errors = []
    for number, threshold in enumerate(thresholds):
        size, mask = found[:, 2 * number], found[:, 2 * number + 1]
        members = mask.astype(np.int64)[..., np.newaxis] >> np.arange(classes) & 1
        expected = prediction_sets(pixels.reshape(-1, classes), threshold).reshape(pixels.shape)
        decides = np.minimum(1 - threshold.threshold, pixels.max(axis=-1, keepdims=True))
        off = np.where(members == expected, 0.0, np.abs(pixels - decides)).max(axis=-1)
        errors.append(np.where(members.sum(axis=-1) == size, off, 1.0))
    return np.stack(errors, axis=1)
