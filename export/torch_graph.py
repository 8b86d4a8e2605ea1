"""A trained mapping model as one ONNX graph: physical units in, probabilities and variances out."""

import warnings
from collections.abc import Sequence
from copy import deepcopy
from typing import Final

import onnx
import torch
from torch import Tensor, nn

from contract.bands import Modality
from contract.bundle import PROBABILITIES, ConformalThreshold
from export.fold import fold
from export.graph import IR_VERSION, OPSET
from export.rewrite import quicken
from training.models.mapping import MappingModel
from training.tensors import Inputs, Prediction

LEAN: Final = (PROBABILITIES, "variance")
"""What every map needs."""
INPUTS: Final = ("s2", "s2_valid", "s1", "s1_valid")
OBSERVABLE: Final = {Modality.S2: (0.0, 10.0), Modality.S1: (-100.0, 100.0)}
"""Values of a broken product are cut to this, so that no activation overflows, in half precision neither. Sixteen bits of a
Level-2A product hold reflectances up to 6.5; backscatter is within tens of decibels of a mirror's."""
LEAST_PROBABILITY: Final = 1e-7
"""Its contribution to an entropy, p log p, is below 2e-6 nats."""


def available_outputs(model: MappingModel, thresholds: Sequence[ConformalThreshold] = ()) -> tuple[str, ...]:
    """Names of all outputs that a model's graph can have; the two of `LEAN` come first."""
    fitted = {"model_doubt": model.doubt, "ood_distance": model.latents, "conformal_set": lac(thresholds)}
    return (*LEAN, "latent_variance", "entropy", "margin", *(name for name, part in fitted.items() if part))


def conformal_bands(thresholds: Sequence[ConformalThreshold]) -> tuple[str, ...]:
    """Bands of `conformal_set`: number of classes in the set, and bit i for class i of the legend, for each alpha."""
    return tuple(f"{band}_{each.alpha:g}" for each in lac(thresholds) for band in ("size", "classes"))


def lac(thresholds: Sequence[ConformalThreshold]) -> tuple[ConformalThreshold, ...]:
    """The thresholds that the graph knows sets of: those on the probability of a single class."""
    return tuple(each for each in thresholds if each.method == "lac")


class MappingGraph(nn.Module):
    """A mapping model from plain tensors to plain tensors, with whatever the masks hide taken away."""

    def __init__(
        self, model: MappingModel, outputs: Sequence[str], thresholds: Sequence[ConformalThreshold] = ()
    ) -> None:
        super().__init__()
        available = available_outputs(model, thresholds)
        if unknown := [name for name in outputs if name not in available]:
            raise ValueError(f"the model gives no {unknown}; it gives {available}")
        self.model, self.outputs, self.thresholds = model, tuple(outputs), lac(thresholds)

    def forward(self, s2: Tensor, s2_valid: Tensor, s1: Tensor, s1_valid: Tensor) -> tuple[Tensor, ...]:
        """(N, bands, H, W) and (N, 1, H, W) of each sensor -> each output as (N, its bands, H, W)."""
        prediction = self.model(
            Inputs(
                s2=_observed(s2, s2_valid, Modality.S2),
                s2_valid=s2_valid,
                s1=_observed(s1, s1_valid, Modality.S1),
                s1_valid=s1_valid,
            )
        )
        planes = _planes(prediction, self.thresholds)
        return tuple(planes[name] for name in self.outputs)


def export_graph(
    model: MappingModel,
    chip_px: int,
    outputs: Sequence[str] = LEAN,
    *,
    thresholds: Sequence[ConformalThreshold] = (),
) -> onnx.ModelProto:
    """The checked ONNX model, with norms folded; float32, batch dynamic, height and width fixed.

    Args:
        model: Stays as it is.
        chip_px: Height and width; a multiple of the model's alignment.
        outputs: Names, out of `available_outputs`, in the order that the graph gives them.
        thresholds: Of calibration; those of LAC are put into `conformal_set`.
    """
    graph = MappingGraph(fold(deepcopy(model).cpu().float()), outputs, thresholds).eval()
    exported = quicken(_traced(graph, chip_px))
    exported.ir_version, exported.producer_name, exported.producer_version = IR_VERSION, "landsigma", ""
    exported.graph.name = "landsigma"
    onnx.checker.check_model(exported, full_check=True)
    return exported


def _traced(graph: MappingGraph, chip_px: int) -> onnx.ModelProto:
    bands = graph.model.encoder.bands
    planes = tuple(torch.zeros(2, count, chip_px, chip_px) for count in (len(bands.s2), 1, len(bands.s1), 1))
    batch = torch.export.Dim("batch")
    with warnings.catch_warnings():
        # Torch's exporter calls what torch deprecates, and names the batch of each input anew.
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            graph,
            planes,
            dynamo=True,
            verbose=False,
            input_names=INPUTS,
            output_names=graph.outputs,
            opset_version=OPSET,
            dynamic_shapes=tuple({0: batch} for _ in planes),
        )
    if program is None:
        raise ValueError("torch gave no graph")
    return program.model_proto


def _observed(values: Tensor, valid: Tensor, modality: Modality) -> Tensor:
    """Physical values, 0 where not valid, whatever stood there: a product with the mask would keep a NaN."""
    return torch.where(valid > 0, values.clamp(*OBSERVABLE[modality]), 0.0)


def _planes(prediction: Prediction, thresholds: Sequence[ConformalThreshold]) -> dict[str, Tensor]:
    """Every output by name, (N, bands, H, W). What is not asked for is gone from the graph when it is traced."""
    planes = {
        PROBABILITIES: prediction.probabilities,
        "variance": torch.stack([prediction.total, prediction.aleatoric, prediction.embedding], dim=1),
        "latent_variance": prediction.latent_variance[:, None],
        "entropy": _entropy(prediction.probabilities),
        "margin": _margin(prediction.probabilities),
    }
    if prediction.doubt is not None:
        planes["model_doubt"] = prediction.doubt[:, None]
    if prediction.ood_distance is not None:
        planes["ood_distance"] = prediction.ood_distance[:, None]
    if thresholds:
        planes["conformal_set"] = _sets(prediction.probabilities, thresholds)
    return planes


def _entropy(probabilities: Tensor) -> Tensor:
    """In nats, (N, 1, H, W)."""
    return -(probabilities * probabilities.clamp_min(LEAST_PROBABILITY).log()).sum(dim=1, keepdim=True)


def _margin(probabilities: Tensor) -> Tensor:
    """1 - (highest - second highest probability), (N, 1, H, W)."""
    # ONNX Runtime's TopK over channels takes ten times as long.
    one, two, *others = torch.split(probabilities, 1, dim=1)
    first, second = torch.maximum(one, two), torch.minimum(one, two)
    for plane in others:
        second = torch.maximum(second, torch.minimum(first, plane))
        first = torch.maximum(first, plane)
    return 1 - (first - second)


def _sets(probabilities: Tensor, thresholds: Sequence[ConformalThreshold]) -> Tensor:
    """Size and bit mask of each threshold's set, (N, 2 * thresholds, H, W); the most probable class is in every set."""
    classes = probabilities.shape[1]
    weights = torch.stack([torch.ones(classes), 2.0 ** torch.arange(classes)])[:, :, None, None]
    highest = probabilities.amax(dim=1, keepdim=True)
    members = [(probabilities >= highest.clamp_max(1 - each.threshold)).to(probabilities.dtype) for each in thresholds]
    return torch.cat([nn.functional.conv2d(each, weights) for each in members], dim=1)
