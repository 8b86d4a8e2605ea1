"""What commands share that talk to a server: its address, and a live view of what it does."""

from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from contract.settings import KEY_VARIABLE, SERVER_VARIABLE

if TYPE_CHECKING:
    from service.client import Client
    from service.downloads import Fetched
    from service.remote import RemoteJob

MEGABYTE: Final = 1_000_000
Server = Annotated[
    str | None, typer.Option(envvar=SERVER_VARIABLE, show_envvar=False, help=f"Its address; default: {SERVER_VARIABLE}")
]
Key = Annotated[
    str | None,
    typer.Option(
        envvar=KEY_VARIABLE, show_envvar=False, help=f"API key, which others see here; default: {KEY_VARIABLE}"
    ),
]


def open_client(server: str | None, key: str | None) -> "Client":
    """A client of the server at that address, or of the one on this machine."""
    from service.client import DEFAULT_ADDRESS, Client

    return Client(server or DEFAULT_ADDRESS, key or None)


class JobView(Progress):
    """A job on a server, as it moves: a bar on a terminal, a line for each change elsewhere."""

    def __init__(self) -> None:
        from workers.terminal import stderr

        super().__init__(
            TextColumn("[bold]{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[message]}", markup=False),
            TimeElapsedColumn(),
            console=stderr,
            disable=not stderr.is_terminal or stderr.is_dumb_terminal,
        )
        self._task = self.add_task("asking", total=None, message="")
        self._said: tuple[str, int] | None = None

    def seen(self, job: "RemoteJob") -> None:
        """Show how far the job is."""
        total = None if job.blocks_total is None else 100
        self.update(self._task, description=job.status, total=total, completed=job.progress, message=job.message)
        self._say((job.status, job.blocks_done), f"{job.status}: {job.message}")

    def fetched(self, entry: "Fetched") -> None:
        """Show how far the download is."""
        message = f"{entry.name}, {entry.done_bytes / MEGABYTE:.1f} of {entry.total_bytes / MEGABYTE:.1f} MB"
        self.update(
            self._task, description="fetching", total=entry.total_bytes, completed=entry.done_bytes, message=message
        )
        self._say((entry.name, 0), f"fetching {entry.name}")

    def _say(self, what: tuple[str, int], text: str) -> None:
        from workers.terminal import say

        if self.disable and what != self._said:
            self._said = what
            say(text)
