"""Commands that train a model, stage by stage, and score it."""

import threading
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

import typer

from contract.errors import CheckpointInvalid, TrainingStopped
from landsigma.output import LOG_COLUMNS, print_json
from landsigma.places import writing

if TYPE_CHECKING:
    from collections.abc import Callable

    from training.config import TrainingConfig
    from training.dry_run import StageName
    from training.readiness import Check
    from training.stages import Stage

WAKE_S: Final = 0.2
"""Between two looks whether a step has ended, or Ctrl-C was pressed again."""
app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Train a model, stage by stage.")
scoring = typer.Typer()

# What the stages of training have in common.
Recipe = Annotated[str, typer.Argument(metavar="CONFIG", help="TOML file, or name of a recipe, as vdual-simclr")]
Out = Annotated[Path | None, typer.Option(help="Folder of the model's checkpoints; default: runs/NAME")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on from the last state that was kept")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what it would take, and write nothing")]
EncoderPath = Annotated[Path | None, typer.Option("--encoder", help="Pre-trained encoder; default: OUT/encoder.pt")]
FromScratch = Annotated[bool, typer.Option("--from-scratch", help="Start from random weights")]


class Side(StrEnum):
    """Of an archive's own split, as Typer takes a list of choices."""

    TRAIN = "train"
    VAL = "val"
    TEST = "test"


@app.command("check")
def train_check(recipe: Recipe) -> None:
    """Say what the data hold, or what is wrong with them."""
    from training.progress import ProgressBar
    from training.readiness import check_all
    from training.recipes import find_config
    from workers.terminal import stderr, stdout, wait_for

    config = find_config(recipe)
    with ProgressBar(stderr) as bar:
        summaries = wait_for(lambda: check_all(config, bar.checking), threading.Event())
    for summary in summaries:
        stdout.print(str(summary), soft_wrap=True)


@app.command("pretrain")
def train_pretrain(recipe: Recipe, *, out: Out = None, resume: Resume = False, dry_run: DryRun = False) -> None:
    """Pre-train an encoder on pairs, without labels: OUT/encoder.pt."""
    from training.readiness import check_pairs
    from training.stages import pretrain_stage

    stage = _stage(recipe, out, resume=resume)
    if dry_run:
        _print_cost(stage.config, "pretrain")
    else:
        _train(stage, "pretrain", check_pairs, pretrain_stage)


@app.command("probe")
def train_probe(
    recipe: Recipe,
    *,
    out: Out = None,
    encoder: EncoderPath = None,
    from_scratch: FromScratch = False,
    resume: Resume = False,
    dry_run: DryRun = False,
) -> None:
    """Learn the classes on an encoder: OUT/probe.pt."""
    from training.stages import probe_stage

    stage = _stage(recipe, out, resume=resume)
    if dry_run:
        _print_cost(stage.config, "probe")
    else:
        _train_on(None if from_scratch else _encoder(stage, encoder), stage, "probe", probe_stage)


@app.command("calibrate")
def train_calibrate(
    recipe: Recipe,
    *,
    out: Out = None,
    encoder: EncoderPath = None,
    from_scratch: FromScratch = False,
    resume: Resume = False,
    dry_run: DryRun = False,
) -> None:
    """Fit OUT/probe.pt to held-out places: OUT/model.pt.

    Give the encoder that the probe was learnt on.
    """
    from training.stages import calibrate_stage

    stage = _stage(recipe, out, resume=resume)
    if dry_run:
        _print_cost(stage.config, "calibrate")
    else:
        _train_on(None if from_scratch else _encoder(stage, encoder), stage, "calibrate", calibrate_stage)


@scoring.command()
def evaluate(  # noqa: PLR0913  a command line has one parameter for each option
    checkpoint: Annotated[Path, typer.Argument(metavar="CHECKPOINT", help="model.pt or probe.pt")],
    data: Annotated[
        Path, typer.Argument(metavar="DATA", help="Folder of an archive, or TOML with [[labelled]] tables")
    ],
    *,
    kind: Annotated[
        Literal["reben", "sen12ms", "dfc2020"] | None, typer.Option(help="What archive the folder is")
    ] = None,
    split: Annotated[list[Side] | None, typer.Option(help="Side of the archive's own split; repeat for more")] = None,
    place: Annotated[list[str] | None, typer.Option(help="Place to ask about, as T34UEG; repeat for more")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder; default: evaluation, beside the checkpoint")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the evaluation as JSON")] = False,
) -> None:
    """Score a model and its variance on unseen ground."""
    from training.evaluate.tables import tables
    from training.evaluation import Question, evaluate_checkpoint
    from workers.terminal import stderr, stdout, wait_for

    question = Question(
        data=data, kind=kind, splits=tuple(side.value for side in split or ()), places=tuple(place or ())
    )
    folder = out or checkpoint.parent / "evaluation"
    with stderr.status("asking the model about every sample, in some 30 views"), writing(folder):
        evaluation = wait_for(lambda: evaluate_checkpoint(checkpoint, question, folder), threading.Event())
    if as_json:
        print_json(evaluation)
        return
    for table in tables(evaluation):
        stdout.print(table, width=None if stdout.is_terminal else LOG_COLUMNS)
    stdout.print(f"pictures, maps and evaluation.json are in {folder}", soft_wrap=True)


def _stage(recipe: str, out: Path | None, *, resume: bool) -> "Stage":
    from training.recipes import find_config
    from training.stages import Stage

    config = find_config(recipe)
    return Stage(config=config, out=out or Path("runs") / config.name, resume=resume)


def _encoder(stage: "Stage", given: Path | None) -> Path:
    """The encoder to start from.

    Raises:
        CheckpointInvalid: There is none.
    """
    from training.stages import ENCODER_NAME

    path = given or stage.out / ENCODER_NAME
    if not path.is_file():
        remedy = "run `landsigma train pretrain` with this --out first, or give --encoder or --from-scratch"
        raise CheckpointInvalid(path=str(path), reason=f"there is no pre-trained encoder; {remedy}")
    return path


def _train_on(
    encoder: Path | None, stage: "Stage", name: "StageName", work: "Callable[[Stage, Path | None], Path]"
) -> None:
    """Check the labels, then run a stage that starts from an encoder; None for random weights."""
    from training.readiness import check_labels

    _train(stage, name, check_labels, lambda watched: work(watched, encoder))


def _train(stage: "Stage", name: "StageName", check: "Check", work: "Callable[[Stage], Path]") -> None:
    """Check the data, then run the stage. After Ctrl-C the step at hand is finished and its state kept."""
    from training.progress import ProgressBar, is_first_process
    from workers.terminal import say, stderr, stdout, wait_for

    recipe = stage.config.pretrain if name == "pretrain" else stage.config.probe
    stop, ended = threading.Event(), threading.Event()
    with ProgressBar(stderr) as bar, writing(stage.out):
        if is_first_process():
            for summary in wait_for(lambda: check(stage.config, bar.checking), stop):
                stderr.print(str(summary), soft_wrap=True)
        watched = replace(stage, watch=bar.stepping(name, recipe.steps), stop=stop.is_set)

        def watched_work() -> Path:
            try:
                return work(watched)
            finally:
                ended.set()

        try:
            path = wait_for(watched_work, stop)
        except KeyboardInterrupt:
            if not ended.is_set():
                say("stopping when this step ends, to keep its state; press again to stop at once")
            while not ended.wait(WAKE_S):
                pass
            raise TrainingStopped from None
    if is_first_process():
        stdout.print(str(path), soft_wrap=True)


def _print_cost(config: "TrainingConfig", name: "StageName") -> None:
    from training.dry_run import estimate_stage
    from workers.terminal import print_rows, wait_for

    cost = wait_for(lambda: estimate_stage(config, name), threading.Event())
    print_rows(f"{name} of {config.name} would take", cost.rows())
