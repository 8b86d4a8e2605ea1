"""The command line of landsigma. Each command imports its own folder only when it is called."""

import os
import shutil
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

import typer
from pydantic import ValidationError

from contract.bands import DEFAULT_MASKED_SCENE_CLASSES, Modality, SceneClass
from contract.errors import (
    CheckpointInvalid,
    ExtraMissing,
    Interrupted,
    LandsigmaError,
    OutputNotWritable,
    TrainingStopped,
)
from contract.record import Record
from contract.request import DEFAULT_BLOCK_PX, DEFAULT_MAX_LOST_FRACTION, MapOptions, MapRequest

if TYPE_CHECKING:
    from contract.ledger import Ledger
    from training.config import TrainingConfig
    from training.dry_run import StageName
    from training.readiness import Check
    from training.stages import Stage
    from workers.worker import Worker

MAX_AREA_KM2: Final = 50_000.0
"""Area of one job unless --max-area-km2 says otherwise: above it, a run takes days and is better cut into jobs."""
STOPPED: Final = 130
"""Exit status after Ctrl-C or SIGTERM."""
DATE: Final = "YYYY-MM-DD"
EXTRAS: Final = {"workers": "workers,cpu", "training": "train", "export": "export"}
"""What each folder needs beside the base, as pip takes it."""
LOG_COLUMNS: Final = 160
"""Width of tables where there is no terminal that would set it."""
WAKE_S: Final = 0.2
"""Between two looks whether a step has ended, or Ctrl-C was pressed again."""


class Side(StrEnum):
    """Of an archive's own split, as Typer takes a list of choices."""

    TRAIN = "train"
    VAL = "val"
    TEST = "test"


# Without Rich, since its boxes cut a path in two.
app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None)
bundle_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Look at exported models.")
app.add_typer(bundle_app, name="bundle")
train_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Train a model, stage by stage.")
app.add_typer(train_app, name="train")

# What the stages of training have in common.
Recipe = Annotated[str, typer.Argument(metavar="CONFIG", help="TOML file, or name of a recipe, as vdual-simclr")]
Out = Annotated[Path | None, typer.Option(help="Folder of the model's checkpoints; default: runs/NAME")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on from the last state that was kept")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what it would take, and write nothing")]
EncoderPath = Annotated[Path | None, typer.Option("--encoder", help="Pre-trained encoder; default: OUT/encoder.pt")]
FromScratch = Annotated[bool, typer.Option("--from-scratch", help="Start from random weights")]


def main() -> None:
    """Run the command line. Exit status 1: an error that a user can mend, in one line; 2: wrong usage; 130: stopped."""
    from workers.terminal import say

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        app(prog_name="landsigma")
    except Interrupted as error:
        say(str(error))
    except LandsigmaError as error:
        say(str(error), label="Error", style="red")
        sys.exit(1)
    except ModuleNotFoundError as error:
        say(str(_missing_extra(error)), label="Error", style="red")
        sys.exit(1)
    except SystemExit as ended:
        if ended.code != STOPPED:
            raise
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(STOPPED)  # at once: reads that nobody waits for any more may take minutes to time out


def _missing_extra(error: ModuleNotFoundError) -> ExtraMissing:
    """What to install: the extra of the folder whose import failed. Any other failure goes on as it came."""
    here = Path(__file__).resolve().parent
    files = [Path(frame.filename) for frame in traceback.extract_tb(error.__traceback__)]
    folders = [file.relative_to(here).parts[0] for file in files if file.is_relative_to(here)]
    extras = [EXTRAS[folder] for folder in folders if folder in EXTRAS]
    if not extras or error.name is None or error.name.partition(".")[0] in EXTRAS:
        raise error
    return ExtraMissing(module=error.name, extra=extras[-1])


def _print_version(asked: bool) -> None:  # noqa: FBT001  how Typer calls it
    if asked:
        sys.stdout.write(f"landsigma {version('landsigma')}\n")
        raise typer.Exit


@app.callback()
def _landsigma(
    *, _: Annotated[bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Say which")] = False
) -> None:
    """Land-cover maps that say how far to trust each pixel."""


# A bbox west of Greenwich starts like an option: "-63.5,-10.2,-63.4,-10.1".
@app.command("map", context_settings={"ignore_unknown_options": True})
def map_(  # noqa: PLR0913  a command line has one parameter for each option
    aoi: Annotated[
        str, typer.Argument(metavar="AOI", help="GeoJSON, WKT, 'west,south,east,north', or a vector file; '-': stdin")
    ],
    *,
    bundle: Annotated[str, typer.Option(help="Model: name or folder of a bundle")],
    start: Annotated[datetime, typer.Option("--from", formats=["%Y-%m-%d"], metavar=DATE, help="First day (UTC)")],
    end: Annotated[datetime, typer.Option("--to", formats=["%Y-%m-%d"], metavar=DATE, help="Day after the last (UTC)")],
    out: Annotated[Path, typer.Option(help="Folder for this job's products")],
    source: Annotated[
        str, typer.Option(help="planetary-computer, earth-search, a STAC API, a catalogue, or a TOML profile")
    ] = "planetary-computer",
    crs: Annotated[str | None, typer.Option(help="CRS of the product, as EPSG:32633; default: the AOI's zone")] = None,
    block_px: Annotated[
        int, typer.Option(min=64, max=8192, help="Block size: memory and retry; does not change the map")
    ] = DEFAULT_BLOCK_PX,
    modality: Annotated[
        list[Modality] | None, typer.Option(help="Sensor to read; repeat for more; default: both")
    ] = None,
    composite: Annotated[
        Literal["median", "first-clear", "mean"], typer.Option(help="How Sentinel-2 dates become one")
    ] = "median",
    mask_scl: Annotated[
        list[int] | None, typer.Option(min=0, max=max(SceneClass), help="SCL class to mask; repeat for more")
    ] = None,
    max_cloud: Annotated[
        float | None, typer.Option(min=0, max=100, help="Highest cloud cover of a scene, percent")
    ] = None,
    orbit: Annotated[Literal["ascending", "descending"] | None, typer.Option(help="Sentinel-1 passes to use")] = None,
    platform: Annotated[list[str] | None, typer.Option(help="Platform to use, as sentinel-2a; repeat for more")] = None,
    output: Annotated[list[str] | None, typer.Option(help="Further output of the bundle, as probabilities")] = None,
    max_lost: Annotated[
        float, typer.Option(min=0, max=1, help="Share of pixels that read errors may leave without a sensor")
    ] = DEFAULT_MAX_LOST_FRACTION,
    max_area_km2: Annotated[float, typer.Option(min=0, help="Refuse larger AOIs")] = MAX_AREA_KM2,
    threads: Annotated[int, typer.Option(min=0, help="CPU threads of the model; 0: every core")] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the job in --out")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what it would cost, and write nothing")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON")] = False,
) -> None:
    """Map an area: land cover and its variance as GeoTIFFs."""
    from workers.aoi import read_aoi
    from workers.terminal import say

    area = read_aoi(aoi, max_area_km2=max_area_km2)
    for notice in area.notices:
        say(notice, label="note")
    try:
        options = MapOptions(
            crs=crs,
            block_px=block_px,
            modalities=tuple(dict.fromkeys(modality or Modality)),
            s2_composite=composite,
            masked_scene_classes=DEFAULT_MASKED_SCENE_CLASSES if mask_scl is None else tuple(map(SceneClass, mask_scl)),
            max_cloud_cover_percent=max_cloud,
            orbit_direction=orbit,
            platforms=tuple(platform or ()),
            outputs=tuple(output or ()),
            max_lost_fraction=max_lost,
        )
        request = MapRequest(
            area=area.area(),
            start=start.replace(tzinfo=UTC),
            end=end.replace(tzinfo=UTC),
            source=_absolute(source),
            bundle=_absolute(bundle),
            options=options,
        )
    except ValidationError as error:
        raise typer.BadParameter(error.errors()[0]["msg"].removeprefix("Value error, ")) from error
    if dry_run:
        _print_estimate(request, threads=threads, as_json=as_json)
    else:
        _run(request, out, threads=threads, resume=resume, as_json=as_json)


@app.command()
def demo(
    folder: Annotated[Path, typer.Argument(help="Where to put the generated scenes and their map")] = Path("demo"),
) -> None:
    """Map a generated landscape, without network."""
    from workers.aoi import read_aoi
    from workers.demo.scene import make_demo_scene
    from workers.folder import JobFolder
    from workers.terminal import stderr, stdout

    with stderr.status("generating a landscape and its satellite passes"):
        scene = make_demo_scene(folder / "scenes")
    request = MapRequest(
        area=read_aoi(str(scene.aoi), max_area_km2=MAX_AREA_KM2).area(),
        start=scene.start,
        end=scene.end,
        source=str(scene.catalogue),
        bundle="spectral-rules",
    )
    out = folder / "map"
    finished = JobFolder(out).report
    if finished is not None and finished.request.source == request.source:
        shutil.rmtree(out)  # the map of an earlier demo
    _run(request, out, threads=0, resume=JobFolder(out).is_used, as_json=False)
    stdout.print(f"look at {out / 'preview.png'}, or open {out / 'map.qgs'} in QGIS", soft_wrap=True)


@bundle_app.command("show")
def bundle_show(
    bundle: Annotated[str, typer.Argument(metavar="BUNDLE", help="Name or folder of a bundle")],
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print the manifest")] = False,
) -> None:
    """Say what a bundle eats and gives."""
    from workers.bundle import find_bundle
    from workers.terminal import print_bundle

    manifest = find_bundle(bundle, shelves()).manifest
    if as_json:
        _print_json(manifest)
        return
    print_bundle(manifest)


@bundle_app.command("verify")
def bundle_verify(
    bundle: Annotated[str, typer.Argument(metavar="BUNDLE", help="Name or folder of a bundle")],
) -> None:
    """Check files and graph against the manifest, and run it."""
    from workers.bundle import find_bundle
    from workers.model import Model
    from workers.terminal import stdout

    model = Model(find_bundle(bundle, shelves()))
    manifest = model.bundle.manifest
    stdout.print(f"{manifest.title}: every file is as the manifest says; runs on {model.provider}", soft_wrap=True)


@train_app.command("check")
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


@train_app.command("pretrain")
def train_pretrain(recipe: Recipe, *, out: Out = None, resume: Resume = False, dry_run: DryRun = False) -> None:
    """Pre-train an encoder on pairs, without labels: OUT/encoder.pt."""
    from training.readiness import check_pairs
    from training.stages import pretrain_stage

    stage = _stage(recipe, out, resume=resume)
    if dry_run:
        _print_cost(stage.config, "pretrain")
    else:
        _train(stage, "pretrain", check_pairs, pretrain_stage)


@train_app.command("probe")
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
    from training.readiness import check_labels
    from training.stages import probe_stage

    stage = _stage(recipe, out, resume=resume)
    if dry_run:
        _print_cost(stage.config, "probe")
        return
    path = None if from_scratch else _encoder(stage, encoder)
    _train(stage, "probe", check_labels, lambda watched: probe_stage(watched, path))


@train_app.command("calibrate")
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
    from training.readiness import check_labels
    from training.stages import calibrate_stage

    stage = _stage(recipe, out, resume=resume)
    if dry_run:
        _print_cost(stage.config, "calibrate")
        return
    path = None if from_scratch else _encoder(stage, encoder)
    _train(stage, "calibrate", check_labels, lambda watched: calibrate_stage(watched, path))


@app.command()
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
    with stderr.status("asking the model about every sample, in some 30 views"), _writing(folder):
        evaluation = wait_for(lambda: evaluate_checkpoint(checkpoint, question, folder), threading.Event())
    if as_json:
        _print_json(evaluation)
        return
    for table in tables(evaluation):
        stdout.print(table, width=None if stdout.is_terminal else LOG_COLUMNS)
    stdout.print(f"pictures, maps and evaluation.json are in {folder}", soft_wrap=True)


def shelves() -> tuple[Path, ...]:
    """Folders with bundles: those shipped beside this file."""
    return (Path(__file__).resolve().parent / "deploy" / "models",)


def _absolute(name: str) -> str:
    """A path as it is known from every folder, since a job may be resumed from another; anything else as it is."""
    return str(Path(name).resolve()) if Path(name).exists() else name


def _run(request: MapRequest, out: Path, *, threads: int, resume: bool, as_json: bool) -> None:
    from workers.folder import JobFolder
    from workers.progress import ProgressBar
    from workers.reading import SceneReader
    from workers.run import run_in_folder
    from workers.terminal import print_result, wait_for
    from workers.worker import Worker

    folder, stop = JobFolder(out), threading.Event()
    with ProgressBar() as bar:

        def make_worker(ledger: "Ledger") -> "Worker":
            return Worker(
                name="map",
                ledger=ledger,
                folder_of=lambda _: folder,
                shelves=shelves(),
                reader=SceneReader(),
                threads=threads,
                watcher=bar,
                stop=stop,
            )

        try:
            result = wait_for(lambda: run_in_folder(request, folder, make_worker, resume=resume), stop)
        except KeyboardInterrupt:
            raise Interrupted from None
    if as_json:
        _print_json(result)
    else:
        print_result(result, out)


def _print_estimate(request: MapRequest, *, threads: int, as_json: bool) -> None:
    from workers.bundle import find_bundle
    from workers.estimate import estimate
    from workers.model import Model
    from workers.reading import SceneReader
    from workers.terminal import print_rows, wait_for

    model = Model(find_bundle(request.bundle, shelves()), threads=threads)
    cost = wait_for(lambda: estimate(request, model, SceneReader()), threading.Event())
    if as_json:
        _print_json(cost)
    else:
        print_rows("this job would take", cost.rows())


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


def _train(stage: "Stage", name: "StageName", check: "Check", work: "Callable[[Stage], Path]") -> None:
    """Check the data, then run the stage. After Ctrl-C the step at hand is finished and its state kept."""
    from training.progress import ProgressBar, is_first_process
    from workers.terminal import say, stderr, stdout, wait_for

    recipe = stage.config.pretrain if name == "pretrain" else stage.config.probe
    stop, ended = threading.Event(), threading.Event()
    with ProgressBar(stderr) as bar, _writing(stage.out):
        if is_first_process():
            for summary in wait_for(lambda: check(stage.config, bar.checking), stop):
                stderr.print(str(summary), soft_wrap=True)
        watched = replace(stage, watch=bar.stepping(name, recipe.optimiser.steps), stop=stop.is_set)

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


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Says which folder it was that cannot be written."""
    try:
        yield
    except OSError as error:
        raise OutputNotWritable(path=str(folder), reason=str(error)) from error


def _print_cost(config: "TrainingConfig", name: "StageName") -> None:
    from training.dry_run import estimate_stage
    from workers.terminal import print_rows, wait_for

    cost = wait_for(lambda: estimate_stage(config, name), threading.Event())
    print_rows(f"{name} of {config.name} would take", cost.rows())


def _print_json(record: Record) -> None:
    sys.stdout.write(record.model_dump_json(indent=2) + "\n")


if __name__ == "__main__":
    main()
