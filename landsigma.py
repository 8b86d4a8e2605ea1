"""The command line of landsigma. Each command imports its own folder only when it is called."""

import shutil
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.table import Table

from contract.bands import DEFAULT_MASKED_SCENE_CLASSES, Modality, SceneClass
from contract.errors import Interrupted, LandsigmaError
from contract.request import DEFAULT_BLOCK_PX, DEFAULT_MAX_LOST_FRACTION, MapOptions, MapRequest, MapResult

if TYPE_CHECKING:
    from contract.ledger import Ledger
    from workers.worker import Worker

MAX_AREA_KM2 = 50_000.0
"""Area of one job unless --max-area-km2 says otherwise: above it, a run takes days and is better cut into jobs."""

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Land-cover maps with honest per-pixel uncertainty.")
bundle_app = typer.Typer(no_args_is_help=True, help="Look at exported models.")
app.add_typer(bundle_app, name="bundle")
console = Console(stderr=True)


def main() -> None:
    """Run the command line; errors that a user can mend are one line and exit status 1, an interruption 130."""
    try:
        app()
    except Interrupted as error:
        console.print(f"[yellow]{error}[/]")
        sys.exit(130)
    except LandsigmaError as error:
        console.print(f"[red]error:[/] {error}", highlight=False, soft_wrap=True)
        sys.exit(1)


@app.command("map")
def map_(  # noqa: PLR0913  a command line has one parameter for each option
    aoi: Annotated[str, typer.Argument(help="GeoJSON, WKT, 'west,south,east,north', or a vector file; '-' for stdin")],
    *,
    bundle: Annotated[str, typer.Option(help="Model: name or folder of a bundle")],
    start: Annotated[datetime, typer.Option("--from", formats=["%Y-%m-%d"], help="First day (UTC)")],
    end: Annotated[datetime, typer.Option("--to", formats=["%Y-%m-%d"], help="Day after the last (UTC)")],
    out: Annotated[Path, typer.Option(help="Folder for this job's products")],
    source: Annotated[
        str, typer.Option(help="planetary-computer, earth-search, URL of a STAC API, catalogue, or TOML profile")
    ] = "planetary-computer",
    crs: Annotated[str | None, typer.Option(help="CRS of the product, as EPSG:32633; default: the AOI's zone")] = None,
    block_px: Annotated[
        int, typer.Option(help="Block size: memory and retry; does not change the map")
    ] = DEFAULT_BLOCK_PX,
    modality: Annotated[
        list[Modality] | None, typer.Option(help="Sensor to read; repeat for more; default: both")
    ] = None,
    composite: Annotated[
        Literal["median", "first-clear", "mean"], typer.Option(help="How S2 dates become one")
    ] = "median",
    mask_scl: Annotated[list[int] | None, typer.Option(help="SCL class to mask; repeat for more")] = None,
    max_cloud: Annotated[float | None, typer.Option(help="Highest cloud cover of a scene, percent")] = None,
    orbit: Annotated[Literal["ascending", "descending"] | None, typer.Option(help="Sentinel-1 passes to use")] = None,
    platform: Annotated[list[str] | None, typer.Option(help="Platform to use, as sentinel-2a; repeat for more")] = None,
    output: Annotated[list[str] | None, typer.Option(help="Further output of the bundle, as probabilities")] = None,
    max_lost: Annotated[
        float, typer.Option(help="Share of pixels that may lose observations to read errors")
    ] = DEFAULT_MAX_LOST_FRACTION,
    max_area_km2: Annotated[float, typer.Option(help="Refuse larger AOIs")] = MAX_AREA_KM2,
    threads: Annotated[int, typer.Option(help="CPU threads of the model; 0: every core")] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the job in --out")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what it would cost, and stop")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON")] = False,
) -> None:
    """Map an area: land cover and its variance, as Cloud-Optimized GeoTIFFs."""
    from workers.aoi import read_aoi

    area = read_aoi(aoi, max_area_km2=max_area_km2)
    for notice in area.notices:
        console.print(f"[yellow]note:[/] {notice}")
    try:
        options = MapOptions(
            crs=crs,
            block_px=block_px,
            modalities=tuple(modality or Modality),
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
            source=source,
            bundle=bundle,
            options=options,
        )
    except ValueError as error:
        raise typer.BadParameter(_first_fault(error)) from error
    if dry_run:
        _print_estimate(request, threads=threads, as_json=as_json)
    else:
        _print_result(_run(request, out, threads=threads, resume=resume), out, as_json=as_json)


@app.command()
def demo(
    folder: Annotated[Path, typer.Argument(help="Where to put the generated scenes and their map")] = Path("demo"),
) -> None:
    """Map a generated landscape: the whole line, without network."""
    from workers.aoi import read_aoi
    from workers.demo.scene import make_demo_scene

    with console.status("generating a landscape and its satellite passes"):
        scene = make_demo_scene(folder / "scenes")
    request = MapRequest(
        area=read_aoi(str(scene.aoi), max_area_km2=MAX_AREA_KM2).area(),
        start=scene.start,
        end=scene.end,
        source=str(scene.catalogue),
        bundle="spectral-rules",
    )
    out = folder / "map"
    shutil.rmtree(out, ignore_errors=True)
    _print_result(_run(request, out, threads=0, resume=False), out, as_json=False)
    console.print(f"look at {out / 'preview.png'}, or open {out / 'map.qgs'} in QGIS")


@bundle_app.command("show")
def bundle_show(
    bundle: Annotated[str, typer.Argument(help="Name or folder of a bundle")],
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print the manifest")] = False,
) -> None:
    """Say what a bundle eats and gives."""
    from workers.bundle import find_bundle

    manifest = find_bundle(bundle, shelves()).manifest
    if as_json:
        sys.stdout.write(manifest.model_dump_json(indent=2) + "\n")
        return
    table = Table(title=f"{manifest.title} ({manifest.kind})", show_header=False, title_justify="left")
    table.add_row("what it is", manifest.description)
    for entry in manifest.inputs:
        table.add_row(f"eats {entry.modality.value}", f"{', '.join(entry.bands)} as {entry.unit.value}")
    for given in manifest.outputs:
        table.add_row(f"gives {given.name}", ", ".join(given.bands) + ("" if given.always else " (on request)"))
    table.add_row("classes", ", ".join(f"{entry.value} {entry.name}" for entry in manifest.legend.classes))
    table.add_row(
        "chips",
        f"{manifest.chip_px} px, halo {manifest.halo_px} px, {manifest.batch} a batch, {manifest.resolution_m:g} m",
    )
    table.add_row("licence", manifest.licence)
    Console().print(table)


@bundle_app.command("verify")
def bundle_verify(bundle: Annotated[str, typer.Argument(help="Name or folder of a bundle")]) -> None:
    """Check every file against the manifest, and that the graph loads and runs."""
    from workers.bundle import find_bundle
    from workers.model import Model

    model = Model(find_bundle(bundle, shelves()))
    console.print(
        f"{model.bundle.manifest.title}: {len(model.bundle.manifest.files)} files as in the manifest; runs on "
        f"{model.provider}"
    )


def shelves() -> tuple[Path, ...]:
    """Folders with bundles: those shipped beside this file."""
    return (Path(__file__).resolve().parent / "deploy" / "models",)


def _run(request: MapRequest, out: Path, *, threads: int, resume: bool) -> MapResult:
    from workers.folder import JobFolder
    from workers.progress import ProgressBar
    from workers.reading import SceneReader
    from workers.run import run_in_folder
    from workers.worker import Worker

    folder = JobFolder(out)
    with ProgressBar(console) as bar, _stopping() as stop:

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

        return run_in_folder(request, folder, make_worker, resume=resume)


@contextmanager
def _stopping() -> Iterator[threading.Event]:
    """An event that Ctrl-C and SIGTERM set; they also end whatever the main thread is at."""
    stop = threading.Event()

    def leave(_signal: int, _frame: object) -> None:
        stop.set()
        raise Interrupted("Run the same command with --resume to go on")

    before = {number: signal.signal(number, leave) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _print_result(result: MapResult, out: Path, *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(result.model_dump_json(indent=2) + "\n")
        return
    table = Table(title=f"{result.state.value}: {out}", title_justify="left")
    table.add_column("class")
    table.add_column("km2", justify="right")
    table.add_column("share", justify="right")
    for entry in result.classes:
        table.add_row(entry.name, f"{entry.area_km2:,.2f}", f"{entry.share:.1%}")
    Console().print(table)
    for warning in (*result.notices, *result.warnings):
        console.print(f"[yellow]note:[/] {warning}")


def _print_estimate(request: MapRequest, *, threads: int, as_json: bool) -> None:
    from workers.bundle import find_bundle
    from workers.estimate import estimate
    from workers.model import Model
    from workers.reading import SceneReader

    cost = estimate(request, Model(find_bundle(request.bundle, shelves()), threads=threads), SceneReader())
    if as_json:
        sys.stdout.write(cost.model_dump_json(indent=2) + "\n")
        return
    table = Table(title="this job would take", show_header=False, title_justify="left")
    for label, value in cost.rows():
        table.add_row(label, value)
    Console().print(table)


def _first_fault(error: ValueError) -> str:
    """The first thing that is wrong, without pydantic's link and type."""
    faults = getattr(error, "errors", None)
    if faults is None:
        return str(error)
    first = faults()[0]
    place = ".".join(str(part) for part in first["loc"])
    return f"{place}: {first['msg']}" if place else str(first["msg"])


if __name__ == "__main__":
    main()
