"""An estimate is about what the job then takes."""

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from rasterio.io import DatasetReader

from contract.bands import Modality
from contract.grid import Grid, Window
from contract.ledger import Ledger
from contract.request import MapOptions, MapRequest, MapResult
from contract.scene import Scene
from landsigma import shelves
from tests.bundles import write_blur_bundle
from workers.aoi import read_aoi
from workers.bundle import find_bundle
from workers.demo.scene import DemoScene, make_demo_scene
from workers.estimate import Estimate, estimate
from workers.folder import JobFolder
from workers.model import Model
from workers.reading import SceneReader
from workers.resampling import BandPixels, Resampling
from workers.run import run_in_folder
from workers.worker import Worker

ROOT = Path(__file__).resolve().parents[2]
PAUSE_S = 0.3
RUN_AND_TELL_PEAK = """
import re, sys, landsigma
try:
    landsigma.main()
finally:
    print(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1], file=sys.stderr)
"""


class SlowReader(SceneReader):
    """A source that answers slowly, which hides how fast this machine is."""

    def read(
        self, scene: Scene, band: str, *, grid: Grid, window: Window, resampling: Resampling = Resampling.BILINEAR
    ) -> BandPixels:
        time.sleep(PAUSE_S)
        return super().read(scene, band, grid=grid, window=window, resampling=resampling)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> DemoScene:
    return make_demo_scene(tmp_path_factory.mktemp("scene"), shape=(420, 540))


@pytest.fixture(scope="module")
def blur(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with a halo and small chips."""
    folder = tmp_path_factory.mktemp("blur")
    write_blur_bundle(folder, chip_px=128)
    return folder


def request_for(scene: DemoScene, bundle: Path | str, **options: object) -> MapRequest:
    return MapRequest(
        area=read_aoi(str(scene.aoi), max_area_km2=1e4).area(),
        start=scene.start,
        end=scene.end,
        source=str(scene.catalogue),
        bundle=str(bundle),
        options=MapOptions.model_validate(options),
    )


def estimated(request: MapRequest, reader: SceneReader | None = None) -> Estimate:
    return estimate(request, Model(find_bundle(request.bundle, shelves())), reader or SceneReader())


def run(request: MapRequest, out: Path, reader: SceneReader | None = None) -> MapResult:
    folder = JobFolder(out)

    def make_worker(ledger: Ledger) -> Worker:
        return Worker(
            name="test",
            ledger=ledger,
            folder_of=lambda _: folder,
            shelves=shelves(),
            reader=reader or SceneReader(),
        )

    return run_in_folder(request, folder, make_worker, resume=False)


@pytest.mark.parametrize("block_px", [2048, 128])
def test_bytes_are_those_that_a_job_reads(
    block_px: int, scene: DemoScene, blur: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = request_for(scene, blur, block_px=block_px)
    expected = estimated(request).read_bytes
    read = DatasetReader.read
    sizes = []

    def counted(raster: DatasetReader, *args: Any, **options: Any) -> Any:
        pixels = read(raster, *args, **options)
        if raster.name.startswith(str(scene.catalogue.parent)):
            sizes.append(pixels.nbytes)
        return pixels

    monkeypatch.setattr(DatasetReader, "read", counted)
    run(request, tmp_path / "out")
    assert expected == pytest.approx(sum(sizes), rel=0.1)


def test_time_follows_the_source(scene: DemoScene, blur: Path, tmp_path: Path) -> None:
    request = request_for(scene, blur, block_px=256)
    expected = estimated(request, SlowReader())
    result = run(request, tmp_path / "out", SlowReader())
    assert expected.blocks == result.blocks > 1
    assert 0.5 < expected.read_s / result.timings_s["read"] < 2
    longer, shorter = max(expected.read_s, expected.model_s), min(expected.read_s, expected.model_s)
    assert longer + expected.finish_s < expected.total_s < longer + shorter + expected.finish_s


def test_memory_is_enough_and_less_than_twice_of_what_a_job_takes(scene: DemoScene, tmp_path: Path) -> None:
    span = ["--from", f"{scene.start:%Y-%m-%d}", "--to", f"{scene.end:%Y-%m-%d}"]
    places = ["--source", str(scene.catalogue), "--bundle", "spectral-rules", "--out", str(tmp_path / "out")]
    command = [sys.executable, "-c", RUN_AND_TELL_PEAK, "map", str(scene.aoi), *span, *places, "--json"]
    dry = subprocess.run([*command, "--dry-run"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert not dry.returncode, dry.stderr
    real = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    peak_bytes = int(real.stderr.split()[-1]) * 1024
    assert peak_bytes < Estimate.model_validate_json(dry.stdout).memory_bytes < 2 * peak_bytes


def test_a_sensor_left_out_costs_nothing(scene: DemoScene, blur: Path) -> None:
    both = estimated(request_for(scene, blur))
    optical = estimated(request_for(scene, blur, modalities=[Modality.S2]))
    assert both.scenes == {Modality.S2: 5, Modality.S1: 4}
    assert optical.scenes == {Modality.S2: 5}
    assert optical.read_bytes < both.read_bytes


def test_what_cannot_be_read_is_noted(scene: DemoScene, blur: Path, tmp_path: Path) -> None:
    make_demo_scene(tmp_path, shape=(256, 320))
    gone = next(tmp_path.rglob("*20210424*/B04.tif"))
    gone.unlink()
    request = request_for(scene, blur).model_copy(update={"source": str(tmp_path / "catalog.json")})
    (notice,) = estimated(request).notices
    assert notice.startswith(f"{gone.parent.name} B04 cannot be read: ")
