"""The command line as a whole: its groups of commands, and how it ends."""

import os
import signal
import sys
import traceback
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Final

import typer

from contract.errors import ExtraMissing, Interrupted, LandsigmaError
from landsigma import bundles, demo, exports, jobs, keys, mapping, schedules, serving, training

STOPPED: Final = 130
"""Exit status after Ctrl-C or SIGTERM."""
EXTRAS: Final = {"workers": "workers,cpu", "service": "service", "training": "train", "export": "export"}
"""What each folder needs beside the base, as pip takes it."""

# Without Rich, since its boxes cut a path in two.
app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None)
app.add_typer(mapping.app)
app.add_typer(demo.app)
app.add_typer(bundles.app, name="bundle")
app.add_typer(training.app, name="train")
app.add_typer(training.scoring)
app.add_typer(exports.app, name="export")
app.add_typer(serving.app)
app.add_typer(jobs.app, name="jobs")
app.add_typer(schedules.app, name="schedules")
app.add_typer(keys.app, name="keys")
app.add_typer(serving.config_app, name="config")


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
        say(" ".join([str(error), *getattr(error, "__notes__", [])]), label="Error", style="red")
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
    here = Path(__file__).resolve().parents[1]
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
