"""Readiness: whether the data of a configuration are what a stage needs, before its first step."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from contract.errors import ConfigInvalid
from training.config import TrainingConfig
from training.data.archives import ArchiveSpec, open_archive
from training.data.check import ArchiveSummary, Progress, check_archive
from training.data.sample import Archive, Entry
from training.data.splits import refuse_overlap

ProgressOf = Callable[[str], Progress]
"""What is to be told of the check of an archive, by its name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedArchive:
    """An archive in which nothing is wrong."""

    summary: ArchiveSummary
    places: Mapping[str, int]
    """Samples of each."""

    def __str__(self) -> str:
        places = ", ".join(f"{place} {count}" for place, count in sorted(self.places.items()))
        return f"{self.summary}\n  samples of places: {places}"


Check = Callable[[TrainingConfig, ProgressOf], Sequence[CheckedArchive]]


def check_pairs(config: TrainingConfig, progress_of: ProgressOf) -> list[CheckedArchive]:
    """What pre-training would see, archive by archive.

    Raises:
        TrainingError: Data are missing, broken, on both sides of a split, or hold no pair.
    """
    checked = check_all(config, progress_of)
    if not sum(archive.summary.pairs for archive in checked):
        raise ConfigInvalid(path=config.name, reason="no sample with both sensors; pre-training needs pairs")
    return checked


def check_labels(config: TrainingConfig, progress_of: ProgressOf) -> list[CheckedArchive]:
    """What probe and calibration would see, archive by archive.

    Raises:
        TrainingError: Data are missing, broken, on both sides of a split, or hold no label of the configured classes.
    """
    checked = _checked(config, config.labelled, progress_of)
    for archive in checked:
        if not {*archive.summary.labels} & {*config.classes}:
            reason = f"no pixel of {archive.summary.name} is labelled with one of its classes {config.classes}"
            raise ConfigInvalid(path=config.name, reason=f"{reason}; archives without labels go under [[unlabelled]]")
    return checked


def check_all(config: TrainingConfig, progress_of: ProgressOf) -> list[CheckedArchive]:
    """What every archive holds that the configuration names.

    Raises:
        TrainingError: Data are missing, broken, or on both sides of a split; or there are none.
    """
    return _checked(config, (*config.labelled, *config.unlabelled), progress_of)


def _checked(config: TrainingConfig, specs: Sequence[ArchiveSpec], progress_of: ProgressOf) -> list[CheckedArchive]:
    if not specs:
        raise ConfigInvalid(path=config.name, reason="it names no archive; give a [[labelled]] table")
    archives = [open_archive(spec, config.bands) for spec in specs]
    _refuse_leaks(config, [entry for archive in archives for entry in archive.entries])
    return [_sound(config, archive, progress_of(archive.name)) for archive in archives]


def _refuse_leaks(config: TrainingConfig, seen: Sequence[Entry]) -> None:
    """Nothing, if no sample that is to be seen shares ground with what `splits` of a labelled archive hold out."""
    for spec in config.labelled:
        if spec.splits:
            whole = open_archive(spec.model_copy(update={"splits": None, "places": None}), config.bands)
            refuse_overlap(seen, [entry for entry in whole.entries if entry.split not in {None, *spec.splits}])


def _sound(config: TrainingConfig, archive: Archive, progress: Progress) -> CheckedArchive:
    summary = check_archive(archive, config.bands, seed=config.seed, progress=progress)
    return CheckedArchive(summary=summary, places=Counter(entry.place for entry in archive.entries))
