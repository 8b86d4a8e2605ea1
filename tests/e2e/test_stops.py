"""A job that is killed, stopped or refused by the disk goes on where it was, and leaves nothing half-written."""

import hashlib
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import pytest

from contract.errors import JobFolderInUse
from tests.e2e.conftest import COMMAND, Landsigma, map_into, request_for

DATES = ("--from", "2021-04-01", "--to", "2021-10-01")
PATIENCE_S = 90.0


def arguments(demo: Path, identity: Path, out: Path) -> tuple[str | Path, ...]:
    places = ("--source", demo / "catalog.json", "--bundle", identity, "--out", out)
    # blocks enough to stop in the middle
    return ("map", demo / "aoi.geojson", *DATES, *places, "--block-px", "96")


def wait_for(condition: Callable[[], bool], process: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert process.poll() is None, f"ended early: {process.communicate()}"
        assert time.monotonic() < deadline, "did not come so far"
        time.sleep(0.005)


def rasters(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("*.tif")}


@pytest.fixture(scope="module")
def undisturbed(demo: Path, identity: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Checksums of the rasters of a run that nobody disturbed."""
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    map_into(
        request_for(str(demo / "aoi.geojson"), demo / "catalog.json", identity, start=DATES[1], end=DATES[3]),
        out,
    )
    return rasters(out)


def finished_blocks(out: Path) -> set[tuple[int, int]]:
    """Position and attempt of each block that the ledger calls done."""
    path = out / ".landsigma/ledger.sqlite"
    if not path.exists():
        return set()
    with closing(sqlite3.connect(path)) as ledger, suppress(sqlite3.OperationalError):  # no tables yet
        return set(ledger.execute("SELECT position, attempt FROM blocks WHERE report IS NOT NULL"))
    return set()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_goes_on_to_the_same_bytes(
    number: signal.Signals,
    demo: Path,
    identity: Path,
    tmp_path: Path,
    landsigma: Landsigma,
    undisturbed: dict[str, str],
) -> None:
    out = tmp_path / "out"
    first = landsigma(*arguments(demo, identity, out))
    wait_for(lambda: len(finished_blocks(out)) > 2, first)
    first.send_signal(number)
    _, said = first.communicate(timeout=10)
    before = finished_blocks(out)
    assert not list(out.glob("*.tif"))
    if number is not signal.SIGKILL:
        assert first.returncode == 130
        assert "--resume" in said
    second = landsigma(*arguments(demo, identity, out), "--resume")
    wait_for(lambda: len(finished_blocks(out)) > len(before), second)
    assert before < finished_blocks(out)
    _, said = second.communicate(timeout=PATIENCE_S)
    assert second.returncode == 0, said
    assert rasters(out) == undisturbed
    assert not (out / ".landsigma").exists()


def test_a_folder_in_use_is_left_alone(demo: Path, identity: Path, tmp_path: Path) -> None:
    request = request_for(str(demo / "aoi.geojson"), demo / "catalog.json", identity, start=DATES[1], end=DATES[3])
    map_into(request, tmp_path / "out")
    before = rasters(tmp_path / "out")
    with pytest.raises(JobFolderInUse, match="choose another --out"):
        map_into(request, tmp_path / "out")
    other = request.model_copy(update={"source": "elsewhere"})
    with pytest.raises(JobFolderInUse, match="differs in source"):
        map_into(other, tmp_path / "out", resume=True)
    assert map_into(request, tmp_path / "out", resume=True).request == request
    assert rasters(tmp_path / "out") == before


def test_a_full_disk_is_named_and_publishes_nothing(demo: Path, identity: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = ["prlimit", "--fsize=900000", *COMMAND, *map(str, arguments(demo, identity, out))]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert ended.returncode == 1
    assert "cannot write" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert [path.name for path in out.iterdir()] == [".landsigma"]


def test_an_output_folder_that_cannot_be_made_is_named(
    demo: Path, identity: Path, tmp_path: Path, landsigma: Landsigma
) -> None:
    (tmp_path / "file").write_text("in the way")
    process = landsigma(*arguments(demo, identity, tmp_path / "file" / "out"))
    _, said = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1
    assert "cannot write" in said
    assert str(tmp_path / "file") in said.replace("\n", "")
