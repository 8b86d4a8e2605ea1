"""What every test may use."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.commands import Landsigma, command_line

# The same examples on every machine, and no failure because one of them is slow.
settings.register_profile("landsigma", derandomize=True, deadline=None)
settings.load_profile("landsigma")

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of real Sentinel data kept beside the project on development machines."""
    if not (SHARED / "stac").is_dir():
        pytest.skip(f"no real Sentinel data at {SHARED}: kept on development machines only")
    return SHARED


@pytest.fixture
def landsigma(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Landsigma]:
    """Runs the command line in this process."""
    with command_line(monkeypatch, capsys) as run:
        yield run
