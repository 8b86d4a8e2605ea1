"""Balance: how much the two sensors' experts count beside each other before anything is calibrated."""

from collections.abc import Iterable

import torch
from torch import Tensor

from training.data.sample import Sample
from training.evaluate.exam import Conditions, inputs_of
from training.models.encoder import SEEN, Encoder, seen_shares


@torch.no_grad()
def balanced(encoder: Encoder, samples: Iterable[Sample], conditions: Conditions, s1_trust: float) -> Tensor:
    """Weights of Sentinel-2's and Sentinel-1's expert, (2,), under which the latter counts `s1_trust` times as much.

    A sensor's sigma says how far noise, clouds and speckle move its embedding, and nothing of the classes that the sensor cannot
    tell apart however well it sees. What it is on usual ground is no reason to believe one sensor more than the other.

    Args:
        encoder: Of the experts.
        samples: Usual ground: log variances are averaged over what each sensor has seen of it. Where one has seen nothing,
            both weights are 1.
        conditions: How samples are put before a model.
        s1_trust: Ratio of Sentinel-1's precision to Sentinel-2's, over all samples.
    """
    encoder.eval()
    total, count = torch.zeros(2).double(), torch.zeros(2).double()
    for sample in samples:
        inputs = conditions.padded(inputs_of(sample, encoder.bands), sample.lattice_origin)
        for index, (expert, share) in enumerate(zip(encoder.experts(inputs), seen_shares(inputs), strict=True)):
            seen = share >= SEEN
            total[index] += (expert.log_variance.mean(dim=1, keepdim=True) * seen).sum()
            count[index] += seen.sum()
    if not count.all():
        return torch.ones(2)
    s2, s1 = total / count
    return torch.stack([torch.ones_like(s2), s1_trust * (s1 - s2).exp()]).float()
