"""QGIS and the GDAL that it uses; both speak to the system's Python alone."""

import json
import os
import subprocess
from typing import Any

import pytest

SYSTEM_PYTHON = "/usr/bin/python3"


def answer_of(script: str, *arguments: object) -> Any:
    """What a script prints as JSON, run without a display; skips the test where QGIS is not installed."""
    try:
        absent = _run("import qgis.core, osgeo.gdal").returncode != 0
    except FileNotFoundError:
        absent = True
    if absent:
        pytest.skip(f"QGIS is not installed for {SYSTEM_PYTHON}")
    ran = _run(script, *map(str, arguments))
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


def _run(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {"QT_QPA_PLATFORM": "offscreen", "HOME": os.environ["HOME"], "PATH": "/usr/bin:/bin"}
    command = [SYSTEM_PYTHON, "-c", script, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
