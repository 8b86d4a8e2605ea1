"""The command line, run in the process of a test."""

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from landsigma import main


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """What is left of a command."""

    status: int
    out: str
    err: str


Landsigma = Callable[..., Ended]


@contextmanager
def command_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Landsigma]:
    """Runs commands; afterwards, signals are handled as before."""

    def run(*arguments: str | Path) -> Ended:
        monkeypatch.setattr(sys, "argv", ["landsigma", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return Ended(status=int(ended.value.code or 0), out=said.out, err=said.err)

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield run
    for number, handler in before.items():
        signal.signal(number, handler)
