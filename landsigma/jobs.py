"""Commands that have a server map."""

import json
import math
import re
import sys
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from pydantic import ValidationError

from contract.errors import AoiUnreadable, JobUnsuccessful
from contract.request import MapOptions
from contract.submission import DEFAULT_PRIORITY, Queue
from landsigma.mapping import DATE
from landsigma.output import print_list
from landsigma.remote import JobView, Key, Server, open_client

if TYPE_CHECKING:
    from service.client import Client
    from service.remote import RemoteJob

_NUMBER: Final = r"\s*[+-]?\d+(?:\.\d*)?\s*"
_BBOX: Final = re.compile(rf"{_NUMBER},{_NUMBER},{_NUMBER},{_NUMBER}")
_SHOWN: Final = 20
app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Have a server map, and get its maps.")
JobId = Annotated[str, typer.Argument(metavar="JOB", help="Id of a job")]


# A bbox west of Greenwich starts like an option: "-63.5,-10.2,-63.4,-10.1".
@app.command("submit", context_settings={"ignore_unknown_options": True})
def submit(  # noqa: PLR0913  a command line has one parameter for each option
    aoi: Annotated[
        str, typer.Argument(metavar="AOI", help="GeoJSON, 'west,south,east,north', or what else `map` reads")
    ],
    *,
    bundle: Annotated[str, typer.Option(help="Model: name of a bundle of the server")],
    start: Annotated[datetime, typer.Option("--from", formats=["%Y-%m-%d"], metavar=DATE, help="First day (UTC)")],
    end: Annotated[datetime, typer.Option("--to", formats=["%Y-%m-%d"], metavar=DATE, help="Day after the last (UTC)")],
    source: Annotated[str, typer.Option(help="Name of a source of the server")] = "planetary-computer",
    title: Annotated[str, typer.Option(help="For people")] = "",
    priority: Annotated[int, typer.Option(min=0, max=9, help="0 is the most urgent")] = DEFAULT_PRIORITY,
    queue: Annotated[Queue | None, typer.Option(help="Kind of worker, as blocks.gpu; default: the server's")] = None,
    options: Annotated[str, typer.Option(metavar="JSON", help="""As '{"max_cloud_cover_percent": 60}'""")] = "{}",
    once: Annotated[str | None, typer.Option(help="The same job is made once for each such key")] = None,
    server: Server = None,
    key: Key = None,
) -> None:
    """Submit a job; its id is printed."""
    from service.remote import Order

    given = {"title": title, "priority": priority, "queue": queue}
    try:
        order = Order(
            area=area_of(aoi),
            start=start.replace(tzinfo=UTC),
            end=end.replace(tzinfo=UTC),
            source=source,
            bundle=bundle,
            options=MapOptions.model_validate_json(options),
            **{name: value for name, value in given.items() if value is not None},
        )
    except ValidationError as error:
        first = error.errors()[0]
        raise typer.BadParameter(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    with open_client(server, key) as client:
        sys.stdout.write(f"{client.submit(order, once=once).job_id}\n")


@app.command("list")
def list_(
    *,
    status: Annotated[list[str] | None, typer.Option(help="As running; repeat for more")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Most jobs to print")] = _SHOWN,
    server: Server = None,
    key: Key = None,
) -> None:
    """Print jobs, newest first."""
    with open_client(server, key) as client:
        found = islice(client.jobs(statuses=tuple(status or ())), limit)
        rows = [
            (job.job_id, job.status, f"{job.progress} %", f"{job.created:%Y-%m-%d %H:%M}", job.title) for job in found
        ]
    print_list(("job", "status", "done", "created (UTC)", "title"), rows)


@app.command()
def show(job: JobId, *, server: Server = None, key: Key = None) -> None:
    """Print how far a job is."""
    from workers.terminal import print_rows

    with open_client(server, key) as client:
        found = client.job(job)
    rows = [("status", found.status), ("message", found.message), ("created", f"{found.created:%Y-%m-%d %H:%M:%S} UTC")]
    if found.finished is not None:
        rows.append(("finished", f"{found.finished:%Y-%m-%d %H:%M:%S} UTC"))
    if found.blocks_total is not None:
        rows.append(("blocks", f"{found.blocks_done} of {found.blocks_total}"))
    print_rows(f"job {found.job_id}{f', {found.title}' if found.title else ''}", rows)


@app.command()
def wait(job: JobId, *, server: Server = None, key: Key = None) -> None:
    """Watch a job until it is over. Exit status 1 where it ends without a map; Ctrl-C leaves it running."""
    with open_client(server, key) as client, JobView() as view:
        successful(client.wait(job, view.seen))


@app.command()
def cancel(job: JobId, *, server: Server = None, key: Key = None) -> None:
    """Cancel a job that is not over."""
    with open_client(server, key) as client:
        _say_state(client.dismiss(job))


@app.command()
def fetch(
    job: JobId,
    *,
    out: Annotated[Path | None, typer.Option(help="Folder for the files; default: the job's id")] = None,
    server: Server = None,
    key: Key = None,
) -> None:
    """Fetch a job's files, waiting for its end. What broke off is gone on with; every file is checked."""
    from workers.terminal import stdout

    folder = out or Path(job)
    with open_client(server, key) as client:
        fetch_into(folder, job, client)
    stdout.print(str(folder), soft_wrap=True)


@app.command()
def links(
    job: JobId,
    *,
    seconds: Annotated[
        int | None, typer.Option(min=1, help="How long they open; default: as the server allows")
    ] = None,
    server: Server = None,
    key: Key = None,
) -> None:
    """Print links to a job's files that open without a key: in QGIS, GDAL or a browser."""
    with open_client(server, key) as client:
        found = client.links(job, seconds=seconds)
    for name, url in found.files.items():
        sys.stdout.write(f"{name}\t{url}\n")


def fetch_into(folder: Path, job_id: str, client: "Client") -> None:
    """Wait for a job, and fetch what it published.

    Raises:
        JobUnsuccessful: It ended without a map.
    """
    from service.downloads import fetch as download

    with JobView() as view:
        successful(client.wait(job_id, view.seen))
        download(client, job_id, folder, view.fetched)


def successful(job: "RemoteJob") -> None:
    """Make sure that a job that is over has a map.

    Raises:
        JobUnsuccessful: It has none.
    """
    if job.status != "successful":
        raise JobUnsuccessful(job.job_id, job.status, job.message)


def area_of(given: str) -> dict[str, Any]:
    """The area as the API takes it, of any size: limits are the server's.

    GeoJSON and boxes go as they are, and need no package that others may need.

    Raises:
        AoiError: It is in no format that is read.
    """
    if _BBOX.fullmatch(given):
        return {"bbox": [float(number) for number in given.split(",")]}
    text = _text(given)
    if text.lstrip().startswith("{"):
        try:
            area: dict[str, Any] = json.loads(text)
        except json.JSONDecodeError as error:
            raise AoiUnreadable(given, str(error)) from error
        return area
    from workers.aoi import read_aoi

    return read_aoi(text if given == "-" else given, max_area_km2=math.inf).area().model_dump(mode="json")


def _text(given: str) -> str:
    """What standard input or a GeoJSON file holds; anything else as it is."""
    if given == "-":
        return sys.stdin.read()
    if given.lower().endswith("json"):
        try:
            return Path(given).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise AoiUnreadable(given, str(error)) from error
    return given


def _say_state(job: "RemoteJob") -> None:
    from workers.terminal import stdout

    stdout.print(f"job {job.job_id} is {job.status}", soft_wrap=True)
