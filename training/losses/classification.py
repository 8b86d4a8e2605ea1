"""Negative log-likelihood of labels under mean-field probabilities."""

from typing import Final

from torch import Tensor
from torch.nn import functional

from training.data.legends import NO_CLASS

IGNORED: Final = NO_CLASS
"""Class index where there is no label."""


def classification_loss(logits: Tensor, target: Tensor, *, class_weights: Tensor, smoothing: float) -> Tensor:
    """Weighted cross-entropy over labelled pixels, in nats; 0 where a batch has none.

    Args:
        logits: (N, K, H, W).
        target: (N, H, W) class indices, `IGNORED` where there is no label.
        class_weights: (K,).
        smoothing: Share of the target spread over all classes: coarse labels are wrong at edges by nature.
    """
    if bool((target == IGNORED).all()):
        return logits.float().sum() * 0  # with a gradient: the batch is not skipped
    return functional.cross_entropy(
        logits.float(), target, weight=class_weights, ignore_index=IGNORED, label_smoothing=smoothing
    )
