"""The evaluation of a checkpoint: on ground that it has not seen, and the folder that holds what came out."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from pydantic import TypeAdapter

from contract.errors import ArchiveInvalid, CheckpointInvalid, ConfigInvalid
from training.checkpoint import Provenance, load_model
from training.config import read_config
from training.data.archives import ArchiveSpec, open_archive
from training.data.pool import SamplePool
from training.data.sample import Entry
from training.data.splits import refuse_overlap
from training.evaluate.exam import Exam
from training.evaluate.maps import write_maps
from training.evaluate.pictures import write_charts
from training.evaluate.report import EVALUATION_NAME, Evaluation, evaluate, write_evaluation
from training.stages import conditions

LabelledKind = Literal["reben", "sen12ms", "dfc2020"]
"""Archives with label maps that a folder alone describes."""
Side = Literal["train", "val", "test"]

PLACES_SHOWN: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Which samples a checkpoint is to be asked about."""

    data: Path
    """Folder of an archive, or a TOML configuration, whose labelled archives are meant."""
    kind: LabelledKind | None = None
    """Of the archive, if `data` is a folder."""
    splits: tuple[Side, ...] = ()
    """In place of those that the configuration names; none: those, or all samples of a folder."""
    places: tuple[str, ...] = ()
    """The same for places."""

    def specs(self) -> tuple[ArchiveSpec, ...]:
        """The archives, with the samples that are meant.

        Raises:
            ConfigInvalid: The configuration cannot be used, or a folder's kind is not given.
        """
        asked = {"splits": self.splits, "places": self.places}
        chosen = {name: value for name, value in asked.items() if value}
        if self.data.is_file():
            return tuple(spec.model_copy(update=chosen) for spec in read_config(self.data).labelled)
        if self.kind is None:
            raise ConfigInvalid(path=str(self.data), reason="no TOML file; of a folder, say what it is with --kind")
        table = {"kind": self.kind, "folder": self.data, **chosen}
        return (TypeAdapter[ArchiveSpec](ArchiveSpec).validate_python(table),)


def evaluate_checkpoint(path: Path, question: Question, folder: Path) -> Evaluation:
    """What a model is worth on samples of unseen ground. Charts, maps and at last `evaluation.json` go to the folder.

    Raises:
        CheckpointInvalid: It cannot be read, or has seen a place that it would be asked about.
        PlacesOverlap: A sample shares ground with one that it has seen.
        TrainingError: The data cannot be used.
    """
    model, provenance = load_model(path)
    pool = _unseen(path, provenance, question)
    exam = Exam(predictor=model, samples=pool, legend=model.legend, conditions=conditions(model))
    evaluation = evaluate(
        exam,
        model=provenance.config.name,
        archives=pool.archives,
        thresholds=provenance.calibration.conformal if provenance.calibration else (),
    )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / EVALUATION_NAME).unlink(missing_ok=True)  # pictures never stand beside figures of another run
    write_charts(folder, evaluation)
    write_maps(folder, exam)
    write_evaluation(folder, evaluation)
    return evaluation


def _unseen(path: Path, provenance: Provenance, question: Question) -> SamplePool:
    bands = provenance.config.bands
    pool = SamplePool.of([open_archive(spec, bands) for spec in question.specs()])
    if not len(pool):
        raise ConfigInvalid(path=str(question.data), reason="names no [[labelled]] archive")
    known = [place for place in pool.places if place in {*provenance.places}]
    if known:
        some = ", ".join(known[:PLACES_SHOWN]) + (", ..." if len(known) > PLACES_SHOWN else "")
        reason = (
            f"it has seen {len(known)} of the {len(pool.places)} places that it would be asked about ({some}), and figures "
            "are of unseen ground alone; choose others with --split or --place"
        )
        raise CheckpointInvalid(path=str(path), reason=reason)
    refuse_overlap(_seen(provenance), pool.entries)
    return pool


def _seen(provenance: Provenance) -> list[Entry]:
    """What the weights have seen, as far as it is still on this disk: archives call one ground by different names."""
    config, places = provenance.config, {*provenance.places}
    entries: list[Entry] = []
    for spec in (*config.labelled, *config.unlabelled):
        with suppress(ArchiveInvalid):  # moved or gone since
            entries += [entry for entry in open_archive(spec, config.bands).entries if entry.place in places]
    return entries
