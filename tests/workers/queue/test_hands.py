"""Hands try what `landsigma map` tries: TensorRT first, with the engines that `landsigma bundle warm` left."""

import sys
from pathlib import Path

import onnxruntime as ort
import pytest

from contract.bundle import Provider
from workers.queue.hands import Hands


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_engines_are_kept_where_the_command_line_keeps_them(hands: Hands, tmp_path: Path) -> None:
    assert hands.worker.engines == tmp_path / "cache" / "landsigma" / "engines"


def test_a_worker_tries_tensorrt_and_tells_that_the_library_is_missing(
    hands: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ort, "get_available_providers", lambda: [Provider.TENSORRT.value, Provider.CPU.value])
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    model = hands.worker.model(hands.worker.bundle("identity"))
    (passed,) = model.fall_backs
    assert passed.provider is Provider.TENSORRT
    assert "tensorrt library cannot be loaded" in passed.reason
    assert model.provider == "CPUExecutionProvider"
