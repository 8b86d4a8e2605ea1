"""Each folder, imported in a clean process, loads only what it may."""

import pkgutil
import subprocess
import sys
from importlib import import_module

import pytest

FORBIDDEN = {
    "contract": {"numpy", "rasterio", "shapely", "torch", "onnxruntime", "workers", "service", "training", "export"},
    "workers": {"torch", "fastapi", "onnx", "training", "export", "service", "landsigma"},
    "service": {"torch", "onnxruntime", "rasterio", "workers", "training", "export", "landsigma"},
    "training": {"onnxruntime", "workers", "service", "export", "landsigma"},
    "export": {"workers", "service", "landsigma"},
    "landsigma": {"numpy", "rasterio", "torch", "onnxruntime", "workers", "service", "training", "export"},
}


def modules_of(package: str) -> list[str]:
    folder = getattr(import_module(package), "__path__", None)
    inside = pkgutil.walk_packages(folder, f"{package}.") if folder else ()
    # Alembic runs the migrations itself; they cannot be imported outside of it.
    return [package, *(module.name for module in inside if ".migrations" not in module.name)]


@pytest.mark.parametrize("package", FORBIDDEN)
def test_a_folder_loads_nothing_it_may_not(package: str) -> None:
    imports = "; ".join(f"import {name}" for name in modules_of(package))
    script = f"import sys; {imports}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    loaded = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout.split()
    assert package in loaded
    assert not FORBIDDEN[package] & set(loaded)
