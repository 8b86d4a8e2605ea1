"""The closed forms of a trained model against samples of its logits, on the patches that it was trained on.

    python benchmarks/closed_form.py runs/NAME/model.pt

Logits are drawn independent by class, and as the embedding makes them, correlated. Closed forms and samples start from the
same variances at pixels, so interpolation has no part in their ratio. What a missing sensor leaves open is in neither: it is
not drawn from these logits, but what other ones would say.
"""

import argparse
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from scipy.stats import spearmanr
from torch.nn.functional import conv2d

from export.chips import masked
from training.checkpoint import load_model
from training.evaluate.exam import inputs_of
from training.models.layers import STRIDE
from training.models.mapping import MappingModel, at_pixels
from training.models.predictive import Logits, variances
from training.models.sensor_sets import SETS, of_its_set, sensor_sets, values_of_its_set
from training.setup import labelled_pool
from training.tensors import Inputs

DRAWS = 4096
HEADER = """| sensors | classes | error of p, mean | largest | rank of total | rank of embedding | embedding, closed / sampled |
| --- | --- | --- | --- | --- | --- | --- |"""

Array = npt.NDArray[np.float64]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--patches", type=int, default=8, help="evenly from all")
    parser.add_argument("--pixels", type=int, default=250, help="of each patch")
    chosen = parser.parse_args()
    model, provenance = load_model(chosen.checkpoint)
    pool = labelled_pool(provenance.config)
    picked = np.linspace(0, len(pool) - 1, min(chosen.patches, len(pool))).round().astype(int)
    patches = [masked(inputs_of(pool.read(int(index)), model.encoder.bands)) for index in picked]
    generator = torch.Generator().manual_seed(0)
    print(HEADER)
    for sensors in patches[0]:
        pairs = [gaussians(model, patch[sensors], chosen.pixels, generator) for patch in patches]
        mean, covariance = (torch.cat(parts) for parts in zip(*pairs, strict=True))
        alone = torch.diag_embed(covariance.diagonal(dim1=1, dim2=2))
        for classes, used in (("independent", alone), ("correlated", covariance)):
            print(f"| {sensors} | {classes} | {line(closed(mean, used), sampled(mean, used, generator))} |", flush=True)


@torch.no_grad()
def gaussians(
    model: MappingModel, patch: Inputs, count: int, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean (count, K) and covariance (count, K, K) of the logits of random pixels."""
    logits, expert, clear = model.seen(patch, model.encoder.experts(patch))
    sets, weights = sensor_sets(patch, clear, STRIDE), model.centred_weight.chunk(SETS)
    products = torch.cat([(weight[:, None] * weight[None]).flatten(0, 1) for weight in weights])
    of_embedding = of_its_set(conv2d(expert.variance, products), sets)
    of_raw = values_of_its_set(model.raw_noise.covariance.flatten(1), sets)
    scale = model.noise_scale(model.surroundings(model.raw(patch), patch), sets)
    temperature = values_of_its_set(model.temperature[:, None], sets)
    covariance = (of_embedding + of_raw * scale) * model.variance_scale / temperature.square()
    covariance = at_pixels(covariance, patch)  # (1, K * K, H, W)
    seen = torch.nonzero((patch.s2_valid + patch.s1_valid).flatten() > 0)[:, 0]
    pixels = seen[torch.randperm(len(seen), generator=generator)[:count]]
    classes = len(weights[0])
    mean = logits.mean.flatten(2)[0, :, pixels].T
    return mean.double(), covariance.flatten(2)[0, :, pixels].T.reshape(-1, classes, classes).double()


def closed(mean: torch.Tensor, covariance: torch.Tensor) -> tuple[Array, Array, Array]:
    """Probabilities (P, K), total and embedding variance (P,)."""
    logits = Logits(mean=mean.T[None, :, :, None], variance=covariance.diagonal(dim1=1, dim2=2).T[None, :, :, None])
    probabilities = logits.mean_field.softmax(dim=1)
    # Less the mean of all, weighted by their probabilities.
    less = torch.eye(mean.shape[1]) - probabilities[0, :, :, 0].T[:, None]  # (P, K, K)
    contrast = (less @ covariance * less).sum(dim=2)  # (P, K)
    total, embedding = variances(probabilities, contrast.T[None, :, :, None])
    return probabilities[0, :, :, 0].T.numpy(), total.flatten().numpy(), embedding.flatten().numpy()


def sampled(mean: torch.Tensor, covariance: torch.Tensor, generator: torch.Generator) -> tuple[Array, Array, Array]:
    """The same from draws of the logits."""
    values, vectors = torch.linalg.eigh(covariance)
    root = vectors * values.clamp_min(0).sqrt()[:, None]
    parts = []
    for centre, spread in zip(mean, root, strict=True):
        noise = torch.randn(DRAWS, len(centre), generator=generator, dtype=torch.float64)
        draws = (centre + noise @ spread.T).softmax(dim=1)
        parts.append((draws.mean(dim=0), draws.var(dim=0).sum()))
    probabilities, embedding = (torch.stack(part).numpy() for part in zip(*parts, strict=True))
    return probabilities, (probabilities * (1 - probabilities)).sum(axis=1), embedding


def line(ours: tuple[Array, Array, Array], theirs: tuple[Array, Array, Array]) -> str:
    """Errors of the probabilities, rank correlations of the variances, ratio of their means."""
    off = np.abs(ours[0] - theirs[0])
    ranks = [spearmanr(one, other).statistic for one, other in zip(ours[1:], theirs[1:], strict=True)]
    ratio = ours[2].mean() / theirs[2].mean()
    return f"{off.mean():.4f} | {off.max():.3f} | {ranks[0]:.3f} | {ranks[1]:.3f} | {ratio:.2f}"


if __name__ == "__main__":
    main()
