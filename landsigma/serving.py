"""Commands that run the service, whole or in parts."""

import socket
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from contract.errors import SettingInvalid
from contract.submission import Queue

if TYPE_CHECKING:
    from contract.settings import Settings
    from service.standalone.server import Program, Server

WAKE_S: Final = 0.1
app = typer.Typer()
config_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Look at the service's settings.")

Data = Annotated[Path | None, typer.Option(help="Folder of jobs and results; default: LANDSIGMA_DATA_DIR")]
Processes = Annotated[int, typer.Option(min=1, help="Processes that map blocks side by side")]


@app.command()
def serve(
    *,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Default: LANDSIGMA_PORT; 0: any free one")] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on; default: LANDSIGMA_HOST")] = None,
    data: Data = None,
    processes: Processes = 1,
    no_worker: Annotated[bool, typer.Option("--no-worker", help="Only the API; workers and beat run apart")] = False,
    listener: Annotated[int | None, typer.Option(hidden=True, help="Open socket to listen on")] = None,
) -> None:
    """Run the service: API, worker, beat and a Redis of its own."""
    settings = read_settings(given(port=port, host=host, data_dir=data))
    if no_worker:
        _serve_api(settings, listener)
        return
    from contract.logs import configure_logs
    from service.standalone.server import running
    from workers.terminal import stdout

    configure_logs(settings.log_format, settings.log_level)

    with running(settings, program(), processes=processes) as server:
        stdout.print(f"landsigma listens on {server.address}; its data are in {settings.data_dir}", soft_wrap=True)
        sys.stdout.flush()
        tend_until_stopped(server)


@app.command()
def worker(
    *,
    queues: Annotated[
        str, typer.Option(help="Queues to work, in order of precedence: plan, blocks.cpu, blocks.gpu")
    ] = "plan,blocks.cpu",
    processes: Processes = 1,
    data: Data = None,
) -> None:
    """Work jobs that wait in queues. For a GPU, start one on blocks.gpu, with CUDA_VISIBLE_DEVICES."""
    settings = _with_broker(read_settings(given(data_dir=data)))
    worked = _queues(queues)
    from celery.signals import worker_ready

    from service.standalone.readiness import tell_ready
    from workers.queue.processes import run_worker

    worker_ready.connect(lambda **_: tell_ready(), weak=False)
    raise typer.Exit(run_worker(settings, queues=worked, processes=processes))


@app.command()
def beat(*, data: Data = None) -> None:
    """Keep time: send again what got lost, open due runs.

    One is enough; more do no harm.
    """
    settings = _with_broker(read_settings(given(data_dir=data)))
    from celery.signals import beat_init

    from service.standalone.readiness import tell_ready
    from workers.queue.processes import run_beat

    beat_init.connect(lambda **_: tell_ready(), weak=False)
    run_beat(settings)


@config_app.command("show")
def config_show(*, data: Data = None) -> None:
    """Print every setting, what it is and what it means. Secrets are hidden."""
    from workers.terminal import stdout

    for setting in read_settings(given(data_dir=data)).shown():
        stdout.print(f"# {setting.meaning}{' (default)' if setting.is_default else ''}", soft_wrap=True)
        stdout.print(f"{setting.variable}={setting.value}", soft_wrap=True)


def given(**flags: object) -> dict[str, object]:
    """The flags that were given."""
    return {name: value for name, value in flags.items() if value is not None}


def read_settings(flags: Mapping[str, object]) -> "Settings":
    """The settings of the environment; flags win. Logs are for machines unless a person reads them.

    Raises:
        SettingInvalid: A variable or flag cannot be used.
    """
    from contract.settings import Settings

    settings = Settings.read(flags)
    if "log_format" in settings.model_fields_set or sys.stderr.isatty():
        return settings
    return settings.model_copy(update={"log_format": "json"})


def program() -> "Program":
    """How this very command line is started again, from whichever folder."""
    from service.standalone.server import Program

    # -P: nothing is imported from the folder that the user happens to be in.
    return Program(command=(sys.executable, "-P", "-m", "landsigma"), path=str(Path(__file__).resolve().parents[1]))


def tend_until_stopped(server: "Server") -> None:
    """Keep a server's parts running until Ctrl-C or SIGTERM."""
    try:
        while True:
            server.supervisor.tend()
            time.sleep(WAKE_S)
    except KeyboardInterrupt:
        return


def _serve_api(settings: "Settings", descriptor: int | None) -> None:
    from service.api import address_of, check_settings, listen, run_api
    from workers.terminal import say

    settings = _with_broker(settings)
    if descriptor is not None:
        run_api(settings, socket.socket(fileno=descriptor))
        return
    check_settings(settings)
    with listen(settings.host, settings.port) as listener:
        say(f"the API listens on {address_of(listener)}")
        run_api(settings.model_copy(update={"port": listener.getsockname()[1]}), listener)


def _with_broker(settings: "Settings") -> "Settings":
    """The settings, if they say which Redis carries the messages.

    Raises:
        SettingInvalid: They do not.
    """
    if settings.broker_url is None:
        needed = "the URL of a Redis, as redis://HOST:6379/0, where API, workers and beat run apart"
        raise SettingInvalid("LANDSIGMA_BROKER_URL", "", needed)
    return settings


def _queues(given: str) -> tuple[Queue, ...]:
    try:
        return tuple(dict.fromkeys(Queue(name.strip()) for name in given.split(",")))
    except ValueError as error:
        raise typer.BadParameter(f"{error}; need some of {', '.join(Queue)}", param_hint="--queues") from error
