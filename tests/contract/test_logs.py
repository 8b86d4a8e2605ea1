"""A log line is one event with everything that it is about."""

import json
import logging
import threading
import warnings
from collections.abc import Iterator

import pytest

from contract.logs import bound, configure_logs, event

LOG = logging.getLogger("workers.some.place")


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    root, ours = logging.getLogger(), [logging.getLogger(name) for name in ("contract", "workers", "service")]
    before, levels = root.handlers[:], [logger.level for logger in (root, *ours)]
    yield
    logging.captureWarnings(capture=False)
    root.handlers[:] = before
    for logger, level in zip((root, *ours), levels, strict=True):
        logger.setLevel(level)


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_an_event_is_one_line_of_json_with_what_is_bound(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("json", "info")
    with bound(worker="w", job="a"), bound(job="b", block=3):
        event(LOG, "block done", px=7, read_s=0.5)
    event(LOG, "idle")
    first, second = lines(capsys)
    assert (
        first.items() >= {"event": "block done", "worker": "w", "job": "b", "block": 3, "px": 7, "read_s": 0.5}.items()
    )
    assert (first["level"], first["logger"]) == ("info", "workers.some.place")
    assert "job" not in second


def test_what_is_bound_in_one_thread_is_not_told_by_another(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("json", "info")
    with bound(job="a"):
        thread = threading.Thread(target=event, args=(LOG, "elsewhere"))
        thread.start()
        thread.join()
    assert "job" not in lines(capsys)[0]


def test_a_traceback_stays_in_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("json", "debug")
    LOG.error("went wrong", exc_info=ValueError("two\nlines"))
    (line,) = lines(capsys)
    assert "two\nlines" in str(line["error"])


def test_people_read_one_line_an_event(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("console", "info")
    event(LOG, "job\nplanned", blocks=4)
    said = capsys.readouterr().err
    assert said.endswith("info    job planned blocks=4\n")
    assert said.count("\n") == 1


def test_libraries_tell_warnings_only_and_the_level_is_ours(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("json", "error")
    logging.getLogger("celery.worker").info("chatter")
    logging.getLogger("celery.worker").warning("trouble")
    LOG.warning("ours")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old", stacklevel=1)
    told = [str(line["event"]) for line in lines(capsys)]
    assert told[0] == "trouble"
    assert "old" in told[1]
    assert len(told) == 2
