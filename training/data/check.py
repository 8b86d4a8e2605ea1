"""The check of an archive before anything is trained on it: what it holds, or what is wrong with it.

What readers refuse is found (files that are missing or broken, other bands or grids, values that cannot be of the
layout's unit, unknown label codes), and besides: samples without a valid pixel, NaN among valid pixels, VV and VH
exchanged.

What cannot be seen: the order of Sentinel-2 bands in files that do not name them, since every rule of thumb
(vegetation is bright in B08) has landscapes that break it; an offset of 1000 that was left in, or taken off twice from
bright ground; and in a large archive, what is wrong behind the headers of samples that are not drawn. The percentiles
are there to be looked at.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from contract.bands import Modality
from contract.errors import SampleInvalid, SampleUnreadable
from training.data.rasters import read_grid
from training.data.sample import NO_LABEL, Archive, BandChoice, Entry, Observation, Sample

Progress = Callable[[int, int], None]
"""Told how many samples are done, and of how many."""

READ_AT_MOST: Final = 2000
"""Samples of a larger archive of which the pixels are read, in some minutes. Of the others, only headers are."""
PIXELS_PER_SAMPLE: Final = 1000
"""For percentiles: 12 million numbers at most, of six bands."""
PROBLEMS_SHOWN: Final = 18
"""As many as a terminal shows with the lines around them."""

_EXCHANGED_DB: Final = -2.0
"""Median of VV - VH below which they are taken to be exchanged. It is 5 to 10 dB on land, and can fall to about 0 on
calm water, where both sink into the noise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BandSummary:
    """The valid values of one band over the samples read: reflectance, or dB."""

    name: str
    p01: float
    """1st percentile."""
    p50: float
    p99: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveSummary:
    """What an archive holds, for the log."""

    name: str
    licence: str
    samples: int
    samples_read: int
    """Those that the rest is about."""
    pairs: int
    """Those with both sensors."""
    valid_share: Mapping[Modality, float]
    """Of the pixels of the samples that have this sensor."""
    bands: tuple[BandSummary, ...]
    labels: Mapping[int, int]
    """Pixels by legend value, without `NO_LABEL`."""
    image_labels: Mapping[str, int]
    """Samples by name of class."""

    def __str__(self) -> str:
        valid = ", ".join(f"{modality.label} {share:.1%} valid" for modality, share in self.valid_share.items())
        lines = [
            f"{self.name} ({self.licence}): {self.samples} samples, {self.samples_read} read, {self.pairs} pairs",
            f"  {valid}",
            *(f"  {band.name}: 1 % {band.p01:.4g}, 50 % {band.p50:.4g}, 99 % {band.p99:.4g}" for band in self.bands),
        ]
        for title, counts in (("labelled px", self.labels), ("image labels", self.image_labels)):
            if counts:
                lines.append(f"  {title}: {', '.join(f'{key} {count}' for key, count in counts.items())}")
        return "\n".join(lines)


def check_archive(
    archive: Archive, bands: BandChoice, *, seed: int = 0, progress: Progress | None = None
) -> ArchiveSummary:
    """What an archive holds. All samples are read, or of a large one `READ_AT_MOST`, drawn by the seed.

    Raises:
        SampleInvalid: Samples cannot be used: how many, and of the first ones what was found in which file.
    """
    total = len(archive.entries)
    drawn = set(np.random.default_rng(seed).permutation(total)[:READ_AT_MOST].tolist())
    tally = _Tally(bands)
    problems: list[str] = []
    for index, entry in enumerate(archive.entries):
        try:
            if index in drawn:
                tally.add(_sound(archive.read(entry), bands))
            else:
                _open_all(entry)
        except (SampleUnreadable, SampleInvalid) as error:
            problems.append(str(error))
        if progress:
            progress(index + 1, total)
    if problems:
        raise _refusal(archive.name, problems, total)
    return tally.summary(archive)


def _open_all(entry: Entry) -> None:
    for path in entry.files:
        read_grid(path)


def _sound(sample: Sample, bands: BandChoice) -> Sample:
    """The sample, if nothing is wrong with it."""
    named = f"sample {sample.entry.name}"
    if not any(observed.valid.any() for observed in sample.observations.values()):
        raise SampleInvalid(named, "no valid pixel in any sensor", "an observation")
    for modality, observed in sample.observations.items():
        broken = np.count_nonzero(~np.isfinite(observed.values[:, observed.valid]))
        if broken:
            raise SampleInvalid(named, f"{broken} valid values of {modality.label} NaN or infinite", "finite values")
    if Modality.S1 in sample.observations and {"VV", "VH"} <= {*bands.s1}:
        _refuse_exchanged(named, sample.observations[Modality.S1], bands)
    return sample


def _refuse_exchanged(named: str, observed: Observation, bands: BandChoice) -> None:
    vv, vh = (observed.values[bands.s1.index(name), observed.valid] for name in ("VV", "VH"))
    if vv.size and np.median(vv - vh) < _EXCHANGED_DB:
        found = f"VV {np.median(vv):.1f} dB below VH {np.median(vh):.1f} dB in Sentinel-1's median"
        raise SampleInvalid(named, found, "VV above VH: the two bands are exchanged")


def _refusal(name: str, problems: Sequence[str], total: int) -> SampleInvalid:
    """One error of all; a file that spoils several samples is named once."""
    distinct = list(dict.fromkeys(problems))
    shown = distinct[:PROBLEMS_SHOWN]
    if len(distinct) > len(shown):
        shown.append(f"and {len(distinct) - len(shown)} more")
    lines = "".join(f"\n  {line}" for line in shown)
    found = f"{len(problems)} of {total} samples that cannot be used"
    return SampleInvalid(name, found, f"every file whole, and as the layout says:{lines}")


class _Tally:
    """What is counted while samples go by."""

    def __init__(self, bands: BandChoice) -> None:
        self._names = {Modality.S2: bands.s2, Modality.S1: bands.s1}
        self._values = defaultdict[Modality, list[npt.NDArray[np.float32]]](list)
        self._valid_px, self._all_px = Counter[Modality](), Counter[Modality]()
        self._labels, self._image_labels = Counter[int](), Counter[str]()
        self._samples = self._pairs = 0

    def add(self, sample: Sample) -> None:
        self._samples += 1
        self._pairs += all(modality in sample.observations for modality in Modality)
        self._image_labels.update(sample.image_labels)
        for modality, observed in sample.observations.items():
            valid = observed.values[:, observed.valid]
            every = -(-valid.shape[1] // PIXELS_PER_SAMPLE) or 1
            self._values[modality].append(valid[:, ::every])
            self._valid_px[modality] += valid.shape[1]
            self._all_px[modality] += observed.valid.size
        if sample.labels is not None:
            values, counts = np.unique(sample.labels[sample.labels != NO_LABEL], return_counts=True)
            self._labels.update(dict(zip(values.tolist(), counts.tolist(), strict=True)))

    def summary(self, archive: Archive) -> ArchiveSummary:
        return ArchiveSummary(
            name=archive.name,
            licence=archive.licence,
            samples=len(archive.entries),
            samples_read=self._samples,
            pairs=self._pairs,
            valid_share={modality: self._valid_px[modality] / count for modality, count in self._all_px.items()},
            bands=tuple(self._bands()),
            labels=dict(sorted(self._labels.items())),
            image_labels=dict(sorted(self._image_labels.items())),
        )

    def _bands(self) -> list[BandSummary]:
        summaries = []
        for modality, parts in self._values.items():
            values = np.concatenate(parts, axis=1)
            if values.size:
                percentiles = np.percentile(values, (1, 50, 99), axis=1).T.tolist()
                for name, (p01, p50, p99) in zip(self._names[modality], percentiles, strict=True):
                    summaries.append(BandSummary(name=name, p01=p01, p50=p50, p99=p99))
        return summaries
