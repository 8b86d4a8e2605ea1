"""Commands that map in this process."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

import typer
from pydantic import ValidationError

from contract.bands import DEFAULT_MASKED_SCENE_CLASSES, Modality, SceneClass
from contract.errors import (
    AoiTooLarge,
    AoiTooWide,
    ErrorBudgetExceeded,
    Interrupted,
    LandsigmaError,
    OutputNotWritable,
    SourceError,
)
from contract.request import DEFAULT_BLOCK_PX, DEFAULT_MAX_LOST_FRACTION, MapOptions, MapRequest
from landsigma.output import print_json
from landsigma.places import absolute, shelves

if TYPE_CHECKING:
    from contract.ledger import Ledger
    from workers.worker import Worker

MAX_AREA_KM2: Final = 50_000.0
"""Area of one job unless --max-area-km2 says otherwise: above it, a run takes days and is better cut into jobs."""
DATE: Final = "YYYY-MM-DD"
_GO_ON: Final = "Finished blocks are kept: --resume goes on with them"
_OPTIONS: Final[tuple[tuple[type[LandsigmaError], str], ...]] = (
    (AoiTooLarge, "(--max-area-km2 sets the limit)"),
    (AoiTooWide, "(--crs gives one)"),
    (SourceError, "(--source, --modality, --from, --to and --max-cloud choose what is read)"),
    (ErrorBudgetExceeded, f"({_GO_ON}; --max-lost sets the limit)"),
    (OutputNotWritable, f"({_GO_ON})"),
)
"""Which options have to do with an error."""
app = typer.Typer()


@contextmanager
def _naming_options() -> Iterator[None]:
    """Say with an error which options of this command have to do with it."""
    try:
        yield
    except LandsigmaError as error:
        for kind, words in _OPTIONS:
            if isinstance(error, kind):
                error.add_note(words)
        raise


# A bbox west of Greenwich starts like an option: "-63.5,-10.2,-63.4,-10.1".
@app.command("map", context_settings={"ignore_unknown_options": True})
@_naming_options()
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
            source=absolute(source),
            bundle=absolute(bundle),
            options=options,
        )
    except ValidationError as error:
        raise typer.BadParameter(error.errors()[0]["msg"].removeprefix("Value error, ")) from error
    if dry_run:
        _print_estimate(request, threads=threads, as_json=as_json)
    else:
        _run(request, out, threads=threads, resume=resume, as_json=as_json)


def _run(request: MapRequest, out: Path, *, threads: int, resume: bool, as_json: bool) -> None:
    from workers.folder import JobFolder
    from workers.progress import ProgressBar
    from workers.providers import engine_folder
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
                engines=engine_folder(),
                watcher=bar,
                stop=stop,
            )

        try:
            result = wait_for(lambda: run_in_folder(request, folder, make_worker, resume=resume), stop)
        except KeyboardInterrupt:
            raise Interrupted from None
    if as_json:
        print_json(result)
    else:
        print_result(result, out)


def _print_estimate(request: MapRequest, *, threads: int, as_json: bool) -> None:
    from workers.bundle import find_bundle
    from workers.estimate import estimate
    from workers.model import Model
    from workers.providers import engine_folder
    from workers.reading import SceneReader
    from workers.terminal import print_rows, wait_for

    model = Model(find_bundle(request.bundle, shelves()), threads=threads, engines=engine_folder())
    cost = wait_for(lambda: estimate(request, model, SceneReader()), threading.Event())
    if as_json:
        print_json(cost)
    else:
        print_rows("this job would take", cost.rows())
