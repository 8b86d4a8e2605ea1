"""Augmentation of batches: what two views of a place may differ in, and what a model's variance has to answer for."""

from dataclasses import replace
from enum import StrEnum
from math import ceil
from typing import Annotated, Final, Self

import torch
from kornia.filters import filter2d_separable, gaussian_blur2d
from pydantic import Field, model_validator
from torch import Tensor

from contract.record import Record
from training.clouds import paste_clouds, uniform
from training.tensors import Inputs

Share = Annotated[float, Field(ge=0, le=1)]
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Looks = Annotated[float, Field(ge=1)]

LOWEST_ROOT: Final = 0.2
"""Floor of the cube root of speckle (-21 dB): under it the approximation strays, and single-look speckle is there in 1 %."""
LEAST_BLUR_PX: Final = 0.3
"""Standard deviation of a blur under which neighbours weigh next to nothing."""
NOISE_BAND: Final = (0.0, 0.5)
"""Surface reflectance of a band that was replaced by noise."""


class AugmentConfig(Record):
    """How much is changed, and how often. Each share is a probability per chip."""

    s2_gain: Share = 0.15
    """Largest change of all S2 bands together, as a factor 1 +- this."""
    s2_band_gain: Share = 0.10
    """Largest change of each S2 band on its own, as a factor 1 +- this."""
    s2_offset: Amount = 0.01
    """Largest offset of each S2 band, surface reflectance."""
    s2_noise: Amount = 0.005
    """Largest standard deviation of white noise on S2, surface reflectance; drawn per chip."""
    s1_offset_db: Amount = 1.5
    """Largest offset of all S1 bands together."""
    s1_band_offset_db: Amount = 0.5
    """Largest offset of each S1 band on its own."""
    s1_noise_db: Amount = 0.3
    """Largest standard deviation of white noise on S1; drawn per chip."""
    speckle_share: Share = 0.5
    """Chips with added speckle."""
    speckle_looks: tuple[Looks, Looks] = (1.0, 10.0)
    """Fewest and most looks of the added speckle."""
    cloud_share: Share = 0.5
    """Chips with pasted clouds."""
    cloud_severity: tuple[Share, Share] = (0.05, 1.0)
    """Lowest and highest severity of pasted clouds."""
    cloud_known_share: Share = 0.2
    """Clouded chips whose clouds are masked, as a scene classification would."""
    cloud_known_opacity: Share = 0.3
    """Opacity above which a known cloud is masked."""
    blur_share: Share = 0
    """Chips whose S2 is out of focus."""
    blur_px: Annotated[float, Field(gt=LEAST_BLUR_PX, le=16)] = 4.0
    """Largest standard deviation of the blur; drawn per chip."""
    box_share: Share = 0.3
    """Chips with a nodata box, for each sensor on its own."""
    box_side: tuple[Share, Share] = (0.1, 0.5)
    """Shortest and longest side of a nodata box, of the chip's."""
    flat_band_share: Share = 0.05
    """Chips with one S2 band replaced by its mean."""
    noise_band_share: Share = 0.05
    """Chips with one S2 band replaced by white noise."""
    s2_dropped_share: Share = 0.1
    """Chips without any S2 observation."""
    s1_dropped_share: Share = 0.1
    """Chips without any S1 observation; never those without S2."""

    @model_validator(mode="after")
    def _one_sensor_stays(self) -> Self:
        dropped = self.s2_dropped_share + self.s1_dropped_share
        if dropped > 1:
            raise ValueError(f"s2_dropped_share and s1_dropped_share add up to {dropped:g}; need at most 1")
        return self


class Corruption(StrEnum):
    """A way to spoil an input, for the evaluation of variances."""

    CLOUD = "cloud"
    """S2, as in `paste_clouds`; the pixels stay valid."""
    SPECKLE = "speckle"
    """S1, as in `add_speckle`."""
    NOISE = "noise"
    """Both sensors, white."""
    BLUR = "blur"
    """S2 out of focus."""
    NODATA = "nodata"
    """Both sensors lose a box, each its own."""


LEVELS: Final = {
    Corruption.CLOUD: (0.1, 0.25, 0.45, 0.7, 1.0),  # severity
    Corruption.SPECKLE: (10.0, 5.0, 3.0, 2.0, 1.0),  # looks
    Corruption.NOISE: (0.005, 0.01, 0.02, 0.04, 0.08),  # standard deviation, surface reflectance
    Corruption.BLUR: (0.5, 1.0, 1.5, 2.5, 4.0),  # standard deviation of the kernel, px
    Corruption.NODATA: (0.05, 0.15, 0.3, 0.5, 0.75),  # share of the chip's area
}
"""Strength of each corruption at levels 1 to 5."""
NOISE_DB: Final = 50.0
"""S1 noise in dB for S2 noise of 1: 0.02 on a reflectance of 0.1 is a fifth of the signal, and 1 dB is a quarter."""


def augment(inputs: Inputs, config: AugmentConfig, generator: torch.Generator) -> Inputs:
    """The batch with other focus, radiometry, speckle, clouds and gaps, drawn for each chip and sensor on its own.

    Nothing moves: see `random_d4` for geometry. No chip loses its last observation.
    """
    with torch.autocast(generator.device.type, enabled=False):  # physical units need their digits
        speckled = _speckled(_out_of_focus(inputs, config, generator), config, generator)
        clouded, opacity = _clouded(speckled, config, generator)
        shifted = _radiometry(_band_faults(clouded, config, generator), config, generator)
        known = _chosen(len(inputs.s2), config.cloud_known_share, generator) & (opacity > config.cloud_known_opacity)
        boxes_s2, boxes_s1 = (_boxes(valid, config, generator) for valid in (inputs.s2_valid, inputs.s1_valid))
        return _drop_sensor(_hide(shifted, s2=known | boxes_s2, s1=boxes_s1), config, generator)


def corrupt(inputs: Inputs, kind: Corruption, level: int, generator: torch.Generator) -> Inputs:
    """The batch spoiled in one way, at a level of `LEVELS`, from 1 (slight) to 5 (severe).

    With the same generator state, levels of a kind differ in strength alone.
    """
    if not 1 <= level <= len(LEVELS[kind]):
        raise ValueError(f"corruption level {level}; need 1 to {len(LEVELS[kind])}")
    strength = LEVELS[kind][level - 1]
    match kind:
        case Corruption.CLOUD:
            return _observed(inputs, s2=paste_clouds(inputs.s2, strength, generator)[0])
        case Corruption.SPECKLE:
            return _observed(inputs, s1=add_speckle(inputs.s1, strength, generator))
        case Corruption.NOISE:
            s2 = inputs.s2 + strength * _normal(inputs.s2, generator)
            return _observed(inputs, s2=s2, s1=inputs.s1 + NOISE_DB * strength * _normal(inputs.s1, generator))
        case Corruption.BLUR:
            return _observed(inputs, s2=_blurred(inputs.s2, inputs.s2_valid, strength))
        case Corruption.NODATA:
            side = (strength**0.5, strength**0.5)
            return _hide(inputs, s2=_box(inputs.s2, side, generator), s1=_box(inputs.s1, side, generator))


def add_speckle(s1: Tensor, looks: float | Tensor, generator: torch.Generator) -> Tensor:
    """Backscatter in dB with multiplicative gamma speckle of mean 1 and variance 1 / looks in linear power.

    The looks are equivalent ones: neighbours are correlated by a random amount, as in multi-looked products, while the
    distribution of a pixel stays. Validity is not known here: the caller sets to 0 what was not observed.

    Args:
        s1: (N, bands, H, W), dB.
        looks: At least 1, for all chips or (N,); infinitely many add nothing.
        generator: On the device of `s1`.
    """
    chips, bands, height, width = s1.shape
    looks = torch.as_tensor(looks, dtype=s1.dtype, device=s1.device).expand(chips).reshape(chips, 1, 1, 1)
    side = uniform((chips, 1), (0.0, 1.0), generator)
    taps = torch.cat([side, torch.ones_like(side), side], dim=1)
    taps = taps / taps.norm(dim=1, keepdim=True)  # unit energy: the noise keeps its variance
    noise = torch.randn((chips, bands, height + 2, width + 2), generator=generator, device=s1.device)
    noise = filter2d_separable(noise, taps, taps, padding="valid")
    # Wilson and Hilferty 1931, doi:10.1073/pnas.17.12.684: the cube root of a gamma variate is nearly normal. A gamma
    # sampler takes seven times as long and cannot be correlated. Of gamma's distribution function, at most 0.013 is lost.
    root = 1 - 1 / (9 * looks) + noise / (3 * looks.sqrt())
    return s1 + 30 * root.clamp(min=LOWEST_ROOT).log10()


def random_d4(inputs: Inputs, generator: torch.Generator) -> tuple[Inputs, Tensor]:
    """Square chips flipped and turned, both sensors alike, and the element (N,) of each, for `apply_d4` on labels."""
    elements = torch.randint(8, (len(inputs.s2),), generator=generator, device=generator.device)
    turned = Inputs(
        s2=apply_d4(inputs.s2, elements),
        s2_valid=apply_d4(inputs.s2_valid, elements),
        s1=apply_d4(inputs.s1, elements),
        s1_valid=apply_d4(inputs.s1_valid, elements),
    )
    return turned, elements


def apply_d4(tensor: Tensor, elements: Tensor) -> Tensor:
    """Square chips (N, ..., H, H) under an element 0 to 7 each: 1 transposes, then 2 flips rows and 4 columns."""
    transpose, flip_rows, flip_columns = _d4_steps(tensor, elements)
    tensor = torch.where(transpose, tensor.transpose(-1, -2), tensor)
    tensor = torch.where(flip_rows, tensor.flip(-2), tensor)
    return torch.where(flip_columns, tensor.flip(-1), tensor)


def undo_d4(tensor: Tensor, elements: Tensor) -> Tensor:
    """The chips that `apply_d4` turned into these."""
    transpose, flip_rows, flip_columns = _d4_steps(tensor, elements)
    tensor = torch.where(flip_columns, tensor.flip(-1), tensor)
    tensor = torch.where(flip_rows, tensor.flip(-2), tensor)
    return torch.where(transpose, tensor.transpose(-1, -2), tensor)


def _d4_steps(tensor: Tensor, elements: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    if tensor.shape[-1] != tensor.shape[-2]:
        raise ValueError(f"chips of {tensor.shape[-2]} x {tensor.shape[-1]} px cannot be turned; need square ones")
    each = elements.reshape(-1, *[1] * (tensor.ndim - 1))
    return (each & 1) > 0, (each & 2) > 0, (each & 4) > 0


def _out_of_focus(inputs: Inputs, config: AugmentConfig, generator: torch.Generator) -> Inputs:
    if not config.blur_share:
        return inputs  # and draw nothing: recipes without blur stay what they were
    chips = len(inputs.s2)
    sigma_px = uniform((chips,), (LEAST_BLUR_PX, config.blur_px), generator)
    chosen = _chosen(chips, config.blur_share, generator)
    return _observed(inputs, s2=torch.where(chosen, _blurred(inputs.s2, inputs.s2_valid, sigma_px), inputs.s2))


def _speckled(inputs: Inputs, config: AugmentConfig, generator: torch.Generator) -> Inputs:
    chips = len(inputs.s1)
    looks = uniform((chips,), config.speckle_looks, generator)
    chosen = _chosen(chips, config.speckle_share, generator).flatten()
    return _observed(inputs, s1=add_speckle(inputs.s1, torch.where(chosen, looks, torch.inf), generator))


def _clouded(inputs: Inputs, config: AugmentConfig, generator: torch.Generator) -> tuple[Inputs, Tensor]:
    chips = len(inputs.s2)
    severity = uniform((chips,), config.cloud_severity, generator)
    chosen = _chosen(chips, config.cloud_share, generator).flatten()
    s2, opacity = paste_clouds(inputs.s2, torch.where(chosen, severity, 0.0), generator)
    return _observed(inputs, s2=s2), opacity


def _radiometry(inputs: Inputs, config: AugmentConfig, generator: torch.Generator) -> Inputs:
    s2, s1 = inputs.s2, inputs.s1
    gain = (1 + _shift(s2[:, :1], config.s2_gain, generator)) * (1 + _shift(s2, config.s2_band_gain, generator))
    s2 = torch.addcmul(_shift(s2, config.s2_offset, generator), s2, gain)
    s2 = torch.addcmul(s2, _mostly_little(s2, config.s2_noise, generator), _normal(s2, generator))
    offset_db = _shift(s1[:, :1], config.s1_offset_db, generator) + _shift(s1, config.s1_band_offset_db, generator)
    noise_db = torch.addcmul(offset_db, _mostly_little(s1, config.s1_noise_db, generator), _normal(s1, generator))
    return _observed(inputs, s2=s2, s1=s1 + noise_db)


def _band_faults(inputs: Inputs, config: AugmentConfig, generator: torch.Generator) -> Inputs:
    """One S2 band without detail, or without any signal."""
    s2, valid = inputs.s2, inputs.s2_valid
    mean = s2.sum((2, 3), keepdim=True) / valid.sum((2, 3), keepdim=True).clamp(min=1)
    s2 = torch.where(_random_band(s2, config.flat_band_share, generator), mean, s2)
    noise = uniform(tuple(valid.shape), NOISE_BAND, generator)
    return _observed(inputs, s2=torch.where(_random_band(s2, config.noise_band_share, generator), noise, s2))


def _drop_sensor(inputs: Inputs, config: AugmentConfig, generator: torch.Generator) -> Inputs:
    draw = uniform((len(inputs.s2), 1, 1, 1), (0.0, 1.0), generator)
    # Both ends of one draw, so that the two shares are exact and exclude each other.
    return _hide(inputs, s2=draw < config.s2_dropped_share, s1=draw >= 1 - config.s1_dropped_share)


def _hide(inputs: Inputs, *, s2: Tensor, s1: Tensor) -> Inputs:
    """The batch without the observations where a mask is True, but for chips that would have none left."""
    s2_valid, s1_valid = inputs.s2_valid * ~s2, inputs.s1_valid * ~s1
    seen = (s2_valid + s1_valid).amax((1, 2, 3), keepdim=True) > 0
    s2_valid = torch.where(seen, s2_valid, inputs.s2_valid)
    s1_valid = torch.where(seen, s1_valid, inputs.s1_valid)
    return _observed(replace(inputs, s2_valid=s2_valid, s1_valid=s1_valid), s2=inputs.s2, s1=inputs.s1)


def _observed(inputs: Inputs, *, s2: Tensor | None = None, s1: Tensor | None = None) -> Inputs:
    """The batch with new values for the sensors that are given, 0 where not valid."""
    s2 = inputs.s2 if s2 is None else s2 * inputs.s2_valid
    return replace(inputs, s2=s2, s1=inputs.s1 if s1 is None else s1 * inputs.s1_valid)


def _boxes(valid: Tensor, config: AugmentConfig, generator: torch.Generator) -> Tensor:
    return _chosen(len(valid), config.box_share, generator) & _box(valid, config.box_side, generator)


def _box(chips: Tensor, side: tuple[float, float], generator: torch.Generator) -> Tensor:
    """(N, 1, H, W), True in a box whose sides are a share of the chip's, inside the chip."""
    rows, columns = (_interval(len(chips), size, side, generator) for size in chips.shape[2:])
    return (rows.unsqueeze(2) & columns.unsqueeze(1)).unsqueeze(1)


def _interval(chips: int, size: int, span: tuple[float, float], generator: torch.Generator) -> Tensor:
    length = (size * uniform((chips, 1), span, generator)).round()
    start = ((size - length + 1) * uniform((chips, 1), (0.0, 1.0), generator)).floor()
    place = torch.arange(size, device=generator.device)
    return (place >= start) & (place < start + length)  # (N, size)


def _random_band(chips: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """(N, bands, 1, 1), True for one band of a share of the chips."""
    band = torch.randint(chips.shape[1], (len(chips), 1, 1, 1), generator=generator, device=generator.device)
    every = torch.arange(chips.shape[1], device=generator.device).reshape(1, -1, 1, 1)
    return _chosen(len(chips), share, generator) & (band == every)


def _blurred(values: Tensor, valid: Tensor, sigma_px: float | Tensor) -> Tensor:
    """Gaussian means over what is valid, with one standard deviation for all chips or (N,)."""
    sigma = torch.as_tensor(sigma_px, dtype=values.dtype, device=values.device).expand(len(values))
    size, sigma = 2 * ceil(3 * float(sigma.max())) + 1, sigma[:, None].expand(-1, 2)
    weight = gaussian_blur2d(valid, size, sigma, border_type="replicate")
    return gaussian_blur2d(values, size, sigma, border_type="replicate") / weight.clamp(min=1e-6)


def _chosen(chips: int, share: float, generator: torch.Generator) -> Tensor:
    """(N, 1, 1, 1), True for a share of the chips."""
    return uniform((chips, 1, 1, 1), (0.0, 1.0), generator) < share


def _shift(chips: Tensor, largest: float, generator: torch.Generator) -> Tensor:
    """(N, bands, 1, 1), between -largest and largest."""
    return uniform((*chips.shape[:2], 1, 1), (-largest, largest), generator)


def _mostly_little(chips: Tensor, most: float, generator: torch.Generator) -> Tensor:
    """(N, 1, 1, 1), the square of an even draw: half are below a quarter of the most. Whole scenes have little noise."""
    return most * uniform((len(chips), 1, 1, 1), (0.0, 1.0), generator).square()


def _normal(chips: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(chips.shape, generator=generator, device=generator.device)
