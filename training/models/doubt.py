"""DoubtHeads: several read-outs, each of other places, whose disagreement is what the model itself leaves open."""

from typing import Final

import torch
from torch import Tensor, nn

from training.models.layers import STRIDE, upsample
from training.models.surroundings import CELL_PX

HEADS: Final = 8
SMALLEST: Final = 1e-12
"""Floor under a mean probability, of which the logarithm is taken."""


class DoubtHeads(nn.Module):
    """The probe's read-out several times over, each fitted on a bootstrap of the places.

    Heads read the mean embedding alone. Scaled by the variance of their logits, as the probe's are, they would agree where
    the embedding is open: what the input and what the model leave open are told apart.
    """

    def __init__(self, latent: int, raw: int, around: int, classes: int) -> None:
        super().__init__()
        self.heads, self.classes, self.widths = HEADS, classes, (latent, raw, around)
        self.on_embedding = nn.Conv2d(latent, HEADS * classes, 1)
        self.on_raw = nn.Conv2d(raw, HEADS * classes, 1, bias=False)
        self.on_surroundings = nn.Conv2d(around, HEADS * classes, 1, bias=False)

    def forward(self, mean: Tensor, raw: Tensor, around: Tensor) -> Tensor:
        """Logits of every head, (N, M * K, h, w).

        Args:
            mean: The fused expert's, (N, d, h, w).
            raw: Raw features at its locations, (N, C, h, w).
            around: Their surroundings at cells, (N, C', h / 4, w / 4).
        """
        of_cells = upsample(self.on_surroundings(around), CELL_PX // STRIDE)
        logits: Tensor = self.on_embedding(mean) + self.on_raw(raw) + of_cells
        return logits

    def mutual_information(self, logits: Tensor) -> Tensor:
        """What knowing the head would tell of the class, nats: 0 where all agree, (N, M * K, h, w) -> (N, 1, h, w)."""
        # Of the mean's entropy, what is left without the mean of the entropies: Houlsby et al. 2011, arXiv:1112.5745.
        logarithms = self.apart(logits).log_softmax(dim=2)
        probabilities = logarithms.exp()  # (N, M, K, h, w)
        mean = probabilities.mean(dim=1)
        together = -(mean * mean.clamp_min(SMALLEST).log()).sum(dim=1)
        alone = -(probabilities * logarithms).sum(dim=2).mean(dim=1)
        return torch.relu(together - alone).unsqueeze(1)  # not below 0 by rounding

    def apart(self, logits: Tensor) -> Tensor:
        """(N, M * K, h, w) -> (N, M, K, h, w)."""
        return logits.reshape(-1, self.heads, self.classes, *logits.shape[-2:])
