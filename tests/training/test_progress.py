"""What a person at a terminal sees of a stage, and what a log does not."""

from io import StringIO

import pytest
from rich.console import Console

from training.progress import ProgressBar


def shown(console: Console) -> str:
    """What a bar writes that checks an archive and takes three of five steps."""
    with ProgressBar(console) as bar:
        bar.checking("reBEN [red]")(3, 7)
        watch = bar.stepping("pretrain", 5)
        watch(0, {"contrastive": 3.25, "divergence": 0.5, "gradient_norm": 1.125})
        watch(1, {"contrastive": 3.5, "divergence": 0.75, "gradient_norm": 1.5})
        watch(2, {"contrastive": 3.125, "divergence": 0.25, "gradient_norm": 1.5})
    file = console.file
    assert isinstance(file, StringIO)
    return file.getvalue()


def last_line(said: str) -> str:
    """The bar as it stood before it was wiped out."""
    return [line for line in said.splitlines() if "/" in line][-1]


def test_a_terminal_shows_steps_speed_and_the_terms_of_the_loss() -> None:
    said = shown(Console(file=StringIO(), force_terminal=True, color_system=None, width=160))
    line = last_line(said)
    assert all(words in line for words in ("pretrain", "3/5", "contrastive 3.125", "divergence 0.25", "steps/s")), line
    assert "gradient_norm" not in said


def test_a_run_that_is_resumed_starts_where_it_was() -> None:
    console = Console(file=StringIO(), force_terminal=True, color_system=None, width=160)
    with ProgressBar(console) as bar:
        bar.stepping("probe", 500)(399, {"classification": 1.0})
    assert "400/500" in console.file.getvalue()


def test_folds_start_anew() -> None:
    console = Console(file=StringIO(), force_terminal=True, color_system=None, width=160)
    with ProgressBar(console) as bar:
        watch = bar.stepping("calibrate", 2)
        for step in (0, 1, 0):
            watch(step, {"classification": 1.0})
    assert "1/2" in last_line(console.file.getvalue())


def test_a_log_stays_empty() -> None:
    assert shown(Console(file=StringIO(), force_terminal=False)) == ""


def test_only_the_first_of_several_processes_speaks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert shown(Console(file=StringIO(), force_terminal=True)) == ""
