"""MappingModel: encoder, probe and calibration; chips in physical units -> Prediction."""

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from contract.bands import Modality
from contract.bundle import Calibration
from contract.legend import Legend
from training.models.encoder import Encoder
from training.models.expert import Expert
from training.models.layers import STRIDE, upsample
from training.models.predictive import Logits, variances
from training.models.raw import raw_channels, raw_features
from training.tensors import Inputs, Prediction

UNSEEN: Final = 1e-4
"""Weight of a location that no sensor has seen, beside 1."""


class MappingModel(nn.Module):
    """A linear probe on the fused expert and on raw bands, in the legend's order of classes."""

    temperature: Tensor
    variance_scale: Tensor
    expert_weights: Tensor

    def __init__(self, encoder: Encoder, legend: Legend) -> None:
        super().__init__()
        self.encoder, self.legend = encoder, legend
        classes = len(legend.classes)
        self.on_embedding = nn.Conv2d(encoder.config.latent, classes, 1, bias=False)
        self.on_raw = nn.Conv2d(raw_channels(encoder.bands), classes, 1)
        self.register_buffer("temperature", torch.tensor(1.0))
        self.register_buffer("variance_scale", torch.tensor(1.0))
        self.register_buffer("expert_weights", torch.ones(2))

    def calibrate(self, calibration: Calibration) -> None:
        """Take over what was fitted on held-out places."""
        self.temperature.fill_(calibration.temperature)
        self.variance_scale.fill_(calibration.variance_scale)
        weights = [calibration.expert_weights[modality] for modality in (Modality.S2, Modality.S1)]
        self.expert_weights.copy_(torch.tensor(weights))

    def logits(self, inputs: Inputs) -> tuple[Logits, Expert]:
        """Gaussian logits at every pixel, and the fused expert at stride 2 behind them."""
        expert = self.encoder(inputs, self.expert_weights)
        return self.read_out(inputs, expert), expert

    def read_out(self, inputs: Inputs, expert: Expert) -> Logits:
        """Gaussian logits, (N, K, H, W), of a fused expert of (N, d, H / 2, W / 2)."""
        weight = self.on_embedding.weight - self.on_embedding.weight.mean(dim=0, keepdim=True)
        mean = nn.functional.conv2d(expert.mean, weight)  # (N, K, H / 2, W / 2)
        variance = nn.functional.conv2d(expert.variance, weight.square())
        raw = raw_features(inputs, self.encoder.bands, self.encoder.standardise_s2, self.encoder.standardise_s1)
        return Logits(
            mean=(at_pixels(mean, inputs) + self.on_raw(raw)) / self.temperature,
            variance=at_pixels(variance, inputs) * self.variance_scale,
        )

    def forward(self, inputs: Inputs) -> Prediction:
        """Probabilities and variances of every pixel."""
        logits, expert = self.logits(inputs)
        probabilities = logits.mean_field.softmax(dim=1)
        total, embedding = variances(probabilities, logits.variance)
        return Prediction(
            probabilities=probabilities,
            total=total,
            aleatoric=total - embedding,
            embedding=embedding,
            latent_variance=at_pixels(expert.variance.mean(dim=1, keepdim=True), inputs)[:, 0],
            embedding_norm=at_pixels(expert.mean.norm(dim=1, keepdim=True), inputs)[:, 0],
        )


def at_pixels(values: Tensor, inputs: Inputs) -> Tensor:
    """Locations interpolated to pixels, (N, C, H / 2, W / 2) -> (N, C, H, W), among those that a sensor has seen.

    A pixel that was observed takes nothing from the prior of unobserved ground beside it: else every edge of a gap would
    look uncertain. Where no location was seen, the prior is what remains.
    """
    seen = functional.max_pool2d(torch.maximum(inputs.s2_valid, inputs.s1_valid), STRIDE).clamp_min(UNSEEN)
    return upsample(values * seen, STRIDE) / upsample(seen, STRIDE)
