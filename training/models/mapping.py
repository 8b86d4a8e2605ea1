"""MappingModel: encoder, probe and calibration; chips in physical units -> Prediction."""

from typing import Final, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from contract.bands import Modality
from contract.bundle import Calibration
from contract.legend import Legend
from training.models.doubt import DoubtHeads
from training.models.encoder import Encoder, fused, without_sigma
from training.models.expert import Expert
from training.models.latents import Latents
from training.models.layers import STRIDE, upsample
from training.models.predictive import SMALL, Logits, contrasts, variances
from training.models.raw import of_sensors, raw_channels, raw_channels_of, raw_features, raw_validity
from training.models.raw_noise import RawNoise
from training.models.sensor_sets import SENSOR_SETS, SETS, as_its_set, of_its_set, sensor_sets, values_of_its_set
from training.models.surroundings import CELL_PX, SURROUNDINGS_RADIUS_PX, surroundings, surroundings_channels
from training.tensors import Inputs, Prediction

USUAL: Final = 1.6
"""Distance up to which surroundings are usual: of the training locations of `development.toml`, 95 % are nearer."""
DOUBTFUL: Final = 0.25
"""Mean variance of Sentinel-2's expert from which Sentinel-1 is believed more; the prior's is 1, that of clear land about 0.03."""
UNSEEN: Final = 1e-4
"""Weight of a location that no sensor has seen, beside 1."""


class MappingModel(nn.Module):
    """Linear probes on the fused expert, raw bands and their surroundings, in the legend's order of classes.

    There is one for each set of sensors (`SENSOR_SETS`), and each pixel has that of the sensors that see it: one sensor alone
    is read by what it shows of the classes, not by what it adds to the other. Where Sentinel-2's own variance says that it sees
    no ground, Sentinel-1 counts as alone.
    """

    missing: Tensor
    """(S, K, K): covariance of what both sensors' probe would say beside what a set's does, less what all classes share."""
    temperature: Tensor
    """(S,): that of each set of sensors."""
    variance_scale: Tensor
    balance: Tensor
    """(2,): weights of Sentinel-2's and Sentinel-1's expert before calibration."""
    expert_weights: Tensor
    """(2,): what calibration multiplies them by."""
    doubt: DoubtHeads | None
    """None until fitted, as `latents`."""
    latents: Latents | None

    def __init__(self, encoder: Encoder, legend: Legend) -> None:
        super().__init__()
        self.encoder, self.legend = encoder, legend
        classes = len(legend.classes)
        self.on_embedding = nn.Conv2d(encoder.config.latent, SETS * classes, 1)  # the bias is that of all three
        raw = raw_channels(encoder.bands)
        around = surroundings_channels(raw)
        self.widths = encoder.config.latent, raw, around
        """Channels of what is read: the embedding, raw features, surroundings."""
        # A band that is seen alone is always of the same set: two sets of weights do for three, and pixels are many.
        self.on_raw = nn.Conv2d(2 * raw, classes, 1, bias=False)
        self.on_surroundings = nn.Conv2d(around, SETS * classes, 1, bias=False)
        self.usual = nn.ModuleList(Latents(around) for _ in range(SETS))
        for each in self.usual_ground:
            each.whitening.zero_()  # everything is usual until it is fitted
        self.raw_noise = RawNoise(around, classes)
        self.register_buffer("missing", torch.zeros(SETS, classes, classes))  # nothing until it is fitted
        self.register_buffer("temperature", torch.ones(SETS))
        self.register_buffer("variance_scale", torch.tensor(1.0))
        self.register_buffer("balance", torch.ones(2))
        self.register_buffer("expert_weights", torch.ones(2))
        self.doubt, self.latents = None, None

    def new_doubt(self) -> DoubtHeads:
        """Heads of the probe's form, before they are fitted."""
        return DoubtHeads(*self.widths, len(self.legend.classes))

    def calibrate(self, calibration: Calibration) -> None:
        """Take over what was fitted on held-out places."""
        of_sets = calibration.temperature
        self.temperature.copy_(torch.tensor([of_sets.both, of_sets.s2_alone, of_sets.s1_alone]))
        self.variance_scale.fill_(calibration.variance_scale)
        weights = [calibration.expert_weights[modality] for modality in (Modality.S2, Modality.S1)]
        self.expert_weights.copy_(torch.tensor(weights))

    def logits(self, inputs: Inputs) -> tuple[Logits, Expert]:
        """Gaussian logits at every pixel, and the fused expert at stride 2 behind them."""
        logits, expert, _ = self.seen(inputs, self.encoder.experts(inputs))
        return logits, expert

    def seen(self, inputs: Inputs, experts: tuple[Expert, Expert]) -> tuple[Logits, Expert, Tensor]:
        """`logits` of both sensors' experts, and how far Sentinel-2 is believed, as `clear` says."""
        expert, clear = fused(experts, inputs, self.weights), self.clear(experts[0])
        return self.read_out(inputs, expert, clear), expert, clear

    def clear(self, s2: Expert) -> Tensor:
        """How far Sentinel-2's expert is believed beside Sentinel-1, (N, 1, H / 2, W / 2), 0 to 1."""
        # An undetected cloud is in the raw bands as well, which carry no variance that could tell.
        return 1 / (1 + (s2.variance.mean(dim=1, keepdim=True) / DOUBTFUL).square())

    def read_out(self, inputs: Inputs, expert: Expert, clear: Tensor) -> Logits:
        """Gaussian logits, (N, K, H, W), of a fused expert of (N, d, H / 2, W / 2)."""
        weight, sets = self.centred_weight, sensor_sets(inputs, clear, STRIDE)
        raw = self.raw(inputs)
        surroundings = self.surroundings(raw, inputs)
        around = upsample(self.on_surroundings(surroundings), CELL_PX // STRIDE)
        mean = functional.conv2d(expert.mean, weight, self.on_embedding.bias)
        mean = of_its_set(mean + around, sets)  # (N, K, H / 2, W / 2)
        variance = of_its_set(functional.conv2d(expert.variance, weight.square()), sets)
        variance = variance + _variances(self.raw_noise.covariance, sets) * self.noise_scale(surroundings, sets)
        # A linear read-out grows without bound away from what it has learnt. Divided by the square of how far that is, it
        # says less and less instead, as the discriminant of heavy-tailed classes does.
        distance = torch.cat([each.distance(surroundings) for each in self.usual_ground], dim=1)
        distance = of_its_set(upsample(distance, CELL_PX // STRIDE), sets)
        strangeness = (upsample(distance, STRIDE) / USUAL).clamp_min(1).square()
        sets = sensor_sets(inputs, upsample(clear, STRIDE))
        both, s2_alone, s1_alone = sets.chunk(SETS, dim=1)
        alone = raw * of_sensors(s2_alone, s1_alone, self.encoder.bands)
        on_raw = self.on_raw(torch.cat([raw * both, alone], dim=1))
        # What a temperature divides is the logit, mean and deviation alike.
        temperature = values_of_its_set(self.temperature[:, None], sets)
        return Logits(
            mean=(at_pixels(mean, inputs) + on_raw) / (temperature * strangeness),
            variance=at_pixels(variance, inputs) * self.variance_scale / temperature.square(),
        )

    def open_share(self, probabilities: Tensor, inputs: Inputs, expert: Expert, clear: Tensor) -> Tensor:
        """Share of each pixel's total variance that the input leaves open, (N, H, W), from 0 to 1."""
        # At locations, where there are four times fewer pixels: it changes little within one. Both variances are interpolated
        # and not their ratio, which is nothing but rounding where a class is certain.
        at_locations = functional.avg_pool2d(probabilities, STRIDE)
        both = torch.stack(variances(at_locations, self.contrast(at_locations, inputs, expert, clear)), dim=1)
        total, embedding = at_pixels(both, inputs).unbind(dim=1)
        return embedding / total.clamp_min(SMALL)

    def contrast(self, probabilities: Tensor, inputs: Inputs, expert: Expert, clear: Tensor) -> Tensor:
        """Variance of each class's logit less the mean of all, weighted by the probabilities, at locations, (N, K, h, w)."""
        sets, weight, variance = sensor_sets(inputs, clear, STRIDE), self.centred_weight, expert.variance
        shares = as_its_set(probabilities, sets)
        mean_weight = functional.conv2d(shares, weight.transpose(0, 1))  # (N, d, h, w)
        own = of_its_set(functional.conv2d(variance, weight.square()), sets)
        shared = of_its_set(functional.conv2d(variance * mean_weight, weight), sets)
        scale = self.noise_scale(self.surroundings(self.raw(inputs), inputs), sets)
        for covariance, factor in ((self.raw_noise.covariance, scale), (self.missing, 1.0)):
            own = own + _variances(covariance, sets) * factor
            shared = shared + _products(covariance, shares) * factor
        temperature = values_of_its_set(self.temperature[:, None], sets)
        return contrasts(probabilities, own, shared) * self.variance_scale / temperature.square()

    def noise_scale(self, surroundings: Tensor, sets: Tensor) -> Tensor:
        """Multiple of the covariance of `raw_noise` at locations, (N, C, H / 8, W / 8) -> (N, 1, H / 2, W / 2)."""
        return of_its_set(upsample(self.raw_noise.scale(surroundings), CELL_PX // STRIDE), sets)

    def on_raw_of_sets(self) -> Tensor:
        """Weights of each set's logits on the raw features, (S, K, C)."""
        both, alone = self.on_raw.weight[:, :, 0, 0].chunk(2, dim=1)
        seen = [raw_channels_of(self.encoder.bands, sensors).to(alone) for sensors in SENSOR_SETS[1:]]
        return torch.stack([both, *(alone * channels for channels in seen)])

    @property
    def usual_ground(self) -> list[Latents]:
        """Where the surroundings of training ground lie, as each set of sensors sees them."""
        return [cast("Latents", each) for each in self.usual]

    @property
    def weights(self) -> Tensor:
        """Of Sentinel-2's and Sentinel-1's expert, (2,)."""
        return self.balance * self.expert_weights

    @property
    def centred_weight(self) -> Tensor:
        """Of the logits on the embedding, without what all classes of a set share, (S * K, d, 1, 1)."""
        weight = self.on_embedding.weight
        of_sets = weight.reshape(SETS, -1, *weight.shape[1:])
        return (of_sets - of_sets.mean(dim=1, keepdim=True)).reshape(weight.shape)

    @property
    def radius_px(self) -> int:
        """How far an output pixel can see, per side: the least halo of a chip."""
        return max(self.encoder.radius_px, SURROUNDINGS_RADIUS_PX)

    def raw(self, inputs: Inputs) -> Tensor:
        """What the probe sees of the pixel itself, (N, C, H, W)."""
        return raw_features(inputs, self.encoder.bands, self.encoder.standardise_s2, self.encoder.standardise_s1)

    def surroundings(self, raw: Tensor, inputs: Inputs) -> Tensor:
        """What the probe sees around the pixel, (N, C, H / 8, W / 8)."""
        return surroundings(raw, raw_validity(inputs, self.encoder.bands))

    def votes(self, heads: DoubtHeads, inputs: Inputs, expert: Expert) -> Tensor:
        """Logits of the heads at every location, (N, M * K, H / 2, W / 2), at temperature 1."""
        # At pixels, the planes of all heads would take as long as the encoder.
        raw = self.raw(inputs)
        logits: Tensor = heads(expert.mean, functional.avg_pool2d(raw, STRIDE), self.surroundings(raw, inputs))
        return logits

    def forward(self, inputs: Inputs) -> Prediction:
        """Probabilities and variances of every pixel."""
        experts = self.encoder.experts(inputs)
        logits, expert, clear = self.seen(inputs, experts)
        probabilities = logits.mean_field.softmax(dim=1)
        total = (probabilities * (1 - probabilities)).sum(dim=1)
        embedding = total * self.open_share(probabilities, inputs, expert, clear)
        return Prediction(
            probabilities=probabilities,
            total=total,
            aleatoric=total - embedding,
            embedding=embedding,
            latent_variance=at_pixels(expert.variance.mean(dim=1, keepdim=True), inputs)[:, 0],
            embedding_norm=at_pixels(without_sigma(experts, inputs).norm(dim=1, keepdim=True), inputs)[:, 0],
            doubt=self.model_doubt(inputs, expert),
            ood_distance=self.ood_distance(inputs, expert),
        )

    def model_doubt(self, inputs: Inputs, expert: Expert) -> Tensor | None:
        """What the heads disagree on, (N, H, W), nats; None where none are fitted."""
        if self.doubt is None:
            return None
        votes = self.votes(self.doubt, inputs, expert) / self.temperature[0]  # heads are of both sensors' probe
        return at_pixels(self.doubt.mutual_information(votes), inputs)[:, 0]

    def ood_distance(self, inputs: Inputs, expert: Expert) -> Tensor | None:
        """How far the embedding lies from those of the training data, (N, H, W); None where that is not known."""
        return None if self.latents is None else at_pixels(self.latents.distance(expert.mean), inputs)[:, 0]


def at_pixels(values: Tensor, inputs: Inputs) -> Tensor:
    """Locations interpolated to pixels, (N, C, H / 2, W / 2) -> (N, C, H, W), among those that a sensor has seen.

    A pixel that was observed takes nothing from the prior of unobserved ground beside it: else every edge of a gap would
    look uncertain. Where no location was seen, the prior is what remains.
    """
    seen = functional.max_pool2d(torch.maximum(inputs.s2_valid, inputs.s1_valid), STRIDE).clamp_min(UNSEEN)
    return upsample(values * seen, STRIDE) / upsample(seen, STRIDE)


def _variances(covariances: Tensor, sets: Tensor) -> Tensor:
    """Variances of the logits of each location's own set, (S, K, K), (N, S, h, w) -> (N, K, h, w)."""
    return values_of_its_set(covariances.diagonal(dim1=1, dim2=2), sets)


def _products(covariances: Tensor, shares: Tensor) -> Tensor:
    """Covariances of the logits with their mean, weighted by the shares of their set, (S, K, K), (N, S * K, h, w)."""
    return functional.conv2d(shares, covariances.transpose(0, 1).flatten(1)[:, :, None, None])
