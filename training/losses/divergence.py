"""KL divergence of experts from the prior, which keeps sigma from vanishing."""

from torch import Tensor


def divergence_per_dimension(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean, variance) || N(0, 1)) in nats, averaged over positions: (n, d) -> (d,)."""
    mean, log_variance = mean.float(), log_variance.float()
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean(dim=0)


def divergence_loss(per_dimension: Tensor, *, free_nats: float) -> Tensor:
    """Mean over dimensions, of which none pushes below `free_nats` (Kingma et al. 2016, arXiv:1606.04934)."""
    return per_dimension.clamp_min(free_nats).mean()
