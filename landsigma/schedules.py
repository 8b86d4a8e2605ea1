"""Commands that have a server map a region again and again."""

import sys
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import ValidationError

from contract.request import MapOptions
from contract.schedules import CatchUp
from contract.submission import DEFAULT_PRIORITY, Queue
from landsigma.jobs import area_of
from landsigma.mapping import DATE
from landsigma.output import print_list
from landsigma.remote import Key, Server, open_client

if TYPE_CHECKING:
    from service.remote import RemoteSchedule

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Have a server map a region again and again.")
ScheduleId = Annotated[str, typer.Argument(metavar="SCHEDULE", help="Id of a schedule")]


@app.command("create", context_settings={"ignore_unknown_options": True})
def create(  # noqa: PLR0913  a command line has one parameter for each option
    aoi: Annotated[str, typer.Argument(metavar="AOI", help="Region to cut into jobs; formats as of `map`")],
    *,
    title: Annotated[str, typer.Option(help="For people")],
    cron: Annotated[str, typer.Option(help="Minute, hour, day, month, weekday in UTC, as '0 6 1 * *'")],
    bundle: Annotated[str, typer.Option(help="Model: name of a bundle of the server")],
    window_days: Annotated[float | None, typer.Option(help="Map from so many days before each time")] = None,
    start: Annotated[
        datetime | None, typer.Option("--from", formats=["%Y-%m-%d"], metavar=DATE, help="Or: first day (UTC)")
    ] = None,
    end: Annotated[
        datetime | None, typer.Option("--to", formats=["%Y-%m-%d"], metavar=DATE, help="Day after the last (UTC)")
    ] = None,
    source: Annotated[str, typer.Option(help="Name of a source of the server")] = "planetary-computer",
    only_new: Annotated[bool, typer.Option("--only-new", help="Only when there are new scenes")] = False,
    catch_up: Annotated[CatchUp, typer.Option(help="Times that pass while the server is down")] = CatchUp.LATEST,
    priority: Annotated[int, typer.Option(min=0, max=9, help="0 is the most urgent")] = DEFAULT_PRIORITY,
    queue: Annotated[Queue | None, typer.Option(help="Kind of worker, as blocks.gpu; default: the server's")] = None,
    options: Annotated[str, typer.Option(metavar="JSON", help="""As '{"max_cloud_cover_percent": 60}'""")] = "{}",
    server: Server = None,
    key: Key = None,
) -> None:
    """Make a schedule; its id is printed. The first run is at the next time that the cron expression names."""
    if (start is None) is not (end is None) or (start is None) is (window_days is None):
        raise typer.BadParameter("give --window-days, or --from and --to")
    try:
        chosen = MapOptions.model_validate_json(options).model_dump(mode="json", exclude_unset=True)
    except ValidationError as error:
        raise typer.BadParameter(error.errors()[0]["msg"], param_hint="--options") from error
    wanted: dict[str, Any] = {
        "title": title,
        "area": area_of(aoi),
        "cron": cron,
        "window_days": window_days,
        "span": start and end and {"start": _instant(start), "end": _instant(end)},
        "source": source,
        "bundle": bundle,
        "options": chosen,
        "only_when_new_scenes": only_new,
        "catch_up": catch_up,
        "priority": priority,
        "queue": queue,
    }
    with open_client(server, key) as client:
        made = client.create_schedule({name: value for name, value in wanted.items() if value is not None})
    sys.stdout.write(f"{made.id}\n")


@app.command("list")
def list_(*, server: Server = None, key: Key = None) -> None:
    """Print schedules, newest first."""
    with open_client(server, key) as client:
        found = client.schedules()
    rows = [(schedule.id, schedule.cron, _next(schedule), schedule.title) for schedule in found]
    print_list(("schedule", "cron (UTC)", "next (UTC)", "title"), rows)


@app.command()
def show(schedule: ScheduleId, *, server: Server = None, key: Key = None) -> None:
    """Print a schedule."""
    with open_client(server, key) as client:
        _print(client.schedule(schedule))


@app.command()
def pause(schedule: ScheduleId, *, server: Server = None, key: Key = None) -> None:
    """Open no run until it is resumed. Jobs that are under way go on."""
    with open_client(server, key) as client:
        _print(client.pause(schedule))


@app.command()
def resume(schedule: ScheduleId, *, server: Server = None, key: Key = None) -> None:
    """Open runs again. Times that passed meanwhile are gone."""
    with open_client(server, key) as client:
        _print(client.resume(schedule))


@app.command()
def delete(schedule: ScheduleId, *, server: Server = None, key: Key = None) -> None:
    """Forget a schedule. Its jobs and their maps stay."""
    with open_client(server, key) as client:
        client.delete_schedule(schedule)


@app.command()
def history(
    schedule: ScheduleId,
    *,
    limit: Annotated[int, typer.Option(min=1, help="Most runs to print")] = 20,
    server: Server = None,
    key: Key = None,
) -> None:
    """Print what came of a schedule's times, latest first."""
    with open_client(server, key) as client:
        rows = [
            (run.id, f"{run.nominal:%Y-%m-%d %H:%M}", run.state, str(len(run.jobs)), run.message)
            for run in islice(client.runs(schedule), limit)
        ]
    print_list(("run", "time (UTC)", "state", "jobs", "message"), rows)


def _print(schedule: "RemoteSchedule") -> None:
    from workers.terminal import print_rows

    rows = [
        ("cron (UTC)", schedule.cron),
        ("next (UTC)", _next(schedule)),
        ("source", schedule.source),
        ("bundle", schedule.bundle),
    ]
    print_rows(f"schedule {schedule.id}, {schedule.title}", rows)


def _next(schedule: "RemoteSchedule") -> str:
    if schedule.paused:
        return "paused"
    return f"{schedule.next[0]:%Y-%m-%d %H:%M}" if schedule.next else "never"


def _instant(day: datetime) -> str:
    return day.replace(tzinfo=UTC).isoformat()
