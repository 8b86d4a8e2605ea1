"""The probe of whole images: what the pooled embedding of a frozen encoder knows of an image's classes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional
from torchmetrics.functional.classification import multiclass_accuracy, multilabel_average_precision

from contract.record import Record
from training.data.sample import Sample
from training.evaluate.exam import inputs_of
from training.models.encoder import Encoder
from training.models.layers import STRIDE


class ImageProbeConfig(Record):
    """How image labels are learnt."""

    hidden: Literal[0, 128] = 0
    """Units of the hidden layer; 0: a linear probe."""
    steps: int = Field(default=500, ge=1)
    """Of full batches."""
    learning_rate: float = Field(default=1e-2, gt=0)
    weight_decay: float = Field(default=1e-2, ge=0)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LabelledImages:
    """Embeddings of images and what they show."""

    embeddings: Tensor
    """(n, d): mean of the fused experts over what was observed."""
    classes: Tensor
    """(n, K): 1 for the classes of each image."""
    names: tuple[str, ...]
    """Of the classes."""

    @property
    def one_each(self) -> bool:
        """Whether every image has exactly one class."""
        return bool((self.classes.sum(dim=1) == 1).all())


class ImageScores(Record):
    """A probe on images that it was not fitted on."""

    images: int
    accuracy: float | None
    """Share of images with the right class; None where images have several."""
    micro_precision: float
    """Average precision over all pairs of image and class."""
    macro_precision: float
    """Mean over classes of each one's average precision; classes that no image has are left out."""


@torch.no_grad()
def embed(encoder: Encoder, samples: Sequence[Sample], names: tuple[str, ...], weights: Tensor) -> LabelledImages:
    """Images through a frozen encoder.

    Args:
        encoder: Of the experts.
        samples: With image labels; a sensor may miss.
        names: The classes that are told apart; other labels of an image are passed over.
        weights: Of Sentinel-2's and Sentinel-1's expert, (2,).
    """
    encoder.eval()
    rows = []
    for sample in samples:
        inputs = inputs_of(sample, encoder.bands)
        expert = encoder(inputs, weights)
        seen = functional.avg_pool2d(torch.maximum(inputs.s2_valid, inputs.s1_valid), STRIDE)
        rows.append((expert.mean * seen).sum(dim=(2, 3))[0] / seen.sum().clamp_min(1))
    classes = torch.tensor([[float(name in sample.image_labels) for name in names] for sample in samples])
    return LabelledImages(embeddings=torch.stack(rows), classes=classes, names=names)


def fit_image_probe(images: LabelledImages, config: ImageProbeConfig, seed: int) -> nn.Module:
    """A linear probe or an MLP on standardised embeddings, (n, d) -> (n, K) logits."""
    torch.manual_seed(seed)
    width, count = images.embeddings.shape[1], len(images.names)
    layers = [nn.Linear(width, config.hidden), nn.ReLU()] if config.hidden else []
    probe = nn.Sequential(nn.BatchNorm1d(width, affine=False), *layers, nn.Linear(config.hidden or width, count))
    optimiser = torch.optim.AdamW(probe.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    for _ in range(config.steps):
        logits = probe(images.embeddings)
        if images.one_each:
            loss = functional.cross_entropy(logits, images.classes)
        else:
            loss = functional.binary_cross_entropy_with_logits(logits, images.classes)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    return probe.eval()


@torch.no_grad()
def score_images(probe: nn.Module, images: LabelledImages) -> ImageScores:
    """The probe's scores."""
    logits, truth = probe(images.embeddings), images.classes.long()
    shown = truth.any(dim=0)
    per_class = multilabel_average_precision(logits, truth, num_labels=len(images.names), average="none")
    accuracy = multiclass_accuracy(logits, truth.argmax(dim=1), num_classes=len(images.names), average="micro")
    return ImageScores(
        images=len(truth),
        accuracy=float(accuracy) if images.one_each else None,
        micro_precision=float(
            multilabel_average_precision(logits, truth, num_labels=len(images.names), average="micro")
        ),
        macro_precision=float(per_class[shown].mean()),
    )
