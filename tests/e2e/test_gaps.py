"""Assets that cannot be read are done without, counted, and above the budget they end the job."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import rasterio

from contract.bands import Modality
from contract.errors import ErrorBudgetExceeded
from contract.request import JobState, MapOptions, MapRequest
from tests.e2e.conftest import map_into, request_for
from tests.servers import file_server
from workers.reading import Patience, SceneReader

HURRIED = SceneReader(patience=Patience(attempts=2, backoff_s=0.01, stall_s=5))


@pytest.fixture
def damaged(demo: Path, tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A copy of the scene to be damaged, and the address it is served at."""
    folder = tmp_path / "damaged"
    shutil.copytree(demo, folder)
    with file_server(folder) as address:
        yield folder, address


def request_to(address: str, demo: Path, **options: object) -> MapRequest:
    return request_for(
        str(demo / "aoi.geojson"),
        f"{address}/catalog.json",
        "spectral-rules",
        start="2021-04-01",
        end="2021-10-01",
        options=MapOptions.model_validate(options),
    )


def test_missing_and_truncated_assets_leave_gaps_that_are_counted(
    damaged: tuple[Path, str], demo: Path, tmp_path: Path
) -> None:
    folder, address = damaged
    gone = next(folder.rglob("*20210424*/B04.tif"))
    gone.unlink()
    torn = next(folder.rglob("*20210608*/SCL.tif"))
    torn.write_bytes(torn.read_bytes()[:2000])
    result = map_into(request_to(address, demo), tmp_path / "out", reader=HURRIED)
    assert result.state is JobState.SUCCESSFUL_WITH_GAPS
    assert {(read.scene[11:19], read.band) for read in result.lost_reads} == {("20210424", "B04"), ("20210608", "SCL")}
    assert not {"20210424", "20210608"} & {name[11:19] for name in result.used_scenes if "MSIL2A" in name}
    with rasterio.open(tmp_path / "out" / "quality.tif") as quality:
        clear, inside = quality.read(1), quality.read(1) != 255
    assert clear[inside].max() == 3  # five dates less two
    # Both scenes cover the whole AOI, so no pixel has all its observations; where no other date is clear, it has none.
    assert result.affected_px == result.aoi_px == np.count_nonzero(inside)
    assert result.lost_px == result.unobserved_px[Modality.S2] == np.count_nonzero(clear == 0)
    assert [read.pixels for read in result.lost_reads] == [result.aoi_px] * 2


def test_an_undamaged_scene_over_http_has_no_gaps(damaged: tuple[Path, str], demo: Path, tmp_path: Path) -> None:
    _, address = damaged
    over_http = map_into(request_to(address, demo), tmp_path / "http", reader=HURRIED)
    from_disk = map_into(request_to(str(demo), demo), tmp_path / "disk")
    assert over_http.state is JobState.SUCCESSFUL
    assert over_http.affected_px == 0
    checksums = [
        {file.name: file.sha256 for file in result.artifacts if file.name.endswith(".tif")}
        for result in (over_http, from_disk)
    ]
    assert checksums[0] == checksums[1]


def test_the_error_budget_stops_the_job_which_goes_on_when_assets_are_back(
    damaged: tuple[Path, str], demo: Path, tmp_path: Path
) -> None:
    folder, address = damaged
    blocks = {"block_px": 128}
    bands = list(folder.rglob("vv.tif"))
    for band in bands[1:]:
        band.unlink()
    bands[0].rename(tmp_path / "away.tif")
    with pytest.raises(ErrorBudgetExceeded, match=r"limit is 5\.0%.* VV"):
        map_into(request_to(address, demo, **blocks), tmp_path / "out", reader=HURRIED)
    assert [path.name for path in (tmp_path / "out").iterdir()] == [".landsigma"]
    (tmp_path / "away.tif").rename(bands[0])
    result = map_into(request_to(address, demo, **blocks), tmp_path / "out", reader=HURRIED, resume=True)
    assert result.state is JobState.SUCCESSFUL_WITH_GAPS
    assert result.lost_px <= 0.05 * result.aoi_px


def test_losing_one_sensor_does_not_cut_the_map(damaged: tuple[Path, str], demo: Path, tmp_path: Path) -> None:
    folder, address = damaged
    for asset in folder.rglob("vv.tif"):
        asset.unlink()
    result = map_into(request_to(address, demo, max_lost_fraction=1), tmp_path / "out", reader=HURRIED)
    assert result.unobserved_px[Modality.S1] == result.aoi_px
    assert result.mapped_px > 0.9 * result.aoi_px
