"""Commands that give and take API keys. They write to the database of the service, and need no server."""

import sys
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from landsigma.mapping import DATE
from landsigma.output import print_list
from landsigma.serving import Data, given, read_settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from contract.keys import Key, KeyStore

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Give and take API keys.")


@app.command()
def create(  # noqa: PLR0913  a command line has one parameter for each option
    name: Annotated[str, typer.Argument(help="Whose it is, for people")],
    *,
    scope: Annotated[
        list[str] | None, typer.Option(help="submit, read, manage-schedules or admin; repeat; default: submit and read")
    ] = None,
    expires: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], metavar=DATE, help="Opens nothing from that day on (UTC)")
    ] = None,
    max_area_km2: Annotated[float | None, typer.Option(min=0, help="Largest area of one job")] = None,
    max_jobs_at_once: Annotated[int | None, typer.Option(min=1, help="Jobs that are not over")] = None,
    max_jobs_per_hour: Annotated[int | None, typer.Option(min=1, help="Jobs submitted within an hour")] = None,
    data: Data = None,
) -> None:
    """Make a key and print it. It cannot be printed again."""
    from contract.keys import Scope
    from contract.submission import Limits
    from workers.terminal import say

    try:
        scopes = frozenset(map(Scope, scope or (Scope.SUBMIT, Scope.READ)))
    except ValueError as error:
        raise typer.BadParameter(f"{error}; need some of {', '.join(Scope)}", param_hint="--scope") from error
    limits = Limits(area_km2=max_area_km2 or None, jobs_at_once=max_jobs_at_once, jobs_per_hour=max_jobs_per_hour)
    until = expires and expires.replace(tzinfo=UTC)
    with _store(data) as store:
        made = store.create(name, scopes=scopes, expires=until, limits=limits)
    say(f"key {made.key.id} of {name}; it is not shown again", label="note")
    sys.stdout.write(f"{made.token}\n")


@app.command("list")
def list_(*, data: Data = None) -> None:
    """Print keys, newest first, without their secrets."""
    with _store(data) as store:
        found = store.keys()
    rows = [
        (key.id, key.name, ",".join(sorted(key.scopes)), f"{key.created:%Y-%m-%d %H:%M}", _state(key)) for key in found
    ]
    print_list(("key", "name", "scopes", "made (UTC)", "state"), rows)


@app.command()
def revoke(
    key: Annotated[str, typer.Argument(metavar="KEY", help="Its id, as `keys list` prints it")], *, data: Data = None
) -> None:
    """Let a key open nothing any more, from now on."""
    from workers.terminal import stdout

    with _store(data) as store:
        revoked = store.revoke(key)
    stdout.print(f"key {key} is revoked{'' if revoked else ', as it was before'}", soft_wrap=True)


@contextmanager
def _store(data: Path | None) -> "Iterator[KeyStore]":
    from contract.database import Database
    from contract.keys import KeyStore

    settings = read_settings(given(data_dir=data))
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    with Database.open(settings.database_url.get_secret_value()) as database:
        yield KeyStore(database)


def _state(key: "Key") -> str:
    if key.revoked is not None:
        return f"revoked at {key.revoked:%Y-%m-%d %H:%M}"
    if key.expires is None:
        return "opens"
    return f"{'expired' if key.expires <= datetime.now(UTC) else 'opens until'} {key.expires:%Y-%m-%d %H:%M}"
