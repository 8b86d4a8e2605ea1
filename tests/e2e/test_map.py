"""From an AOI to rasters: what goes in comes out where it belongs, whatever the blocks and chips."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray
from rasterio.coords import BoundingBox

from contract.bands import Modality
from contract.request import JobState, MapOptions
from tests.bundles import write_blur_bundle
from tests.e2e.conftest import SAVANNA_BBOX, map_into, request_for
from tests.servers import served_catalogue

SEASON = {"start": "2021-01-01", "end": "2022-01-01"}
CLEAR_DAY = {"start": "2020-08-11", "end": "2020-08-12"}


def pixels(path: Path) -> NDArray[np.float32]:
    with rasterio.open(path) as dataset:
        return np.asarray(dataset.read())


def overlap(one: BoundingBox, other: BoundingBox) -> tuple[float, float, float, float]:
    return (
        max(one.left, other.left),
        max(one.bottom, other.bottom),
        min(one.right, other.right),
        min(one.top, other.top),
    )


@pytest.fixture(params=["static", "api"])
def savanna(request: pytest.FixtureRequest, shared: Path, tmp_path: Path) -> Iterator[str]:
    """The same scenes as files on disk, and through a STAC API with COGs over HTTP range requests."""
    catalogue = shared / "stac" / "savanna" / "catalog.json"
    if request.param == "static":
        yield str(catalogue)
    else:
        with served_catalogue(catalogue, tmp_path) as address:
            yield address


def test_one_clear_day_of_savanna_comes_back_bit_for_bit(
    savanna: str, shared: Path, identity: Path, tmp_path: Path
) -> None:
    options = MapOptions(masked_scene_classes=(), modalities=(Modality.S2,))
    map_into(request_for(SAVANNA_BBOX, savanna, identity, **CLEAR_DAY, options=options), tmp_path / "out")
    with rasterio.open(tmp_path / "out" / "s2_identity.tif") as result:
        given = result.read()
        bounds = result.bounds
    for index, band in enumerate(("B02", "B03", "B04", "B08")):
        with rasterio.open(shared / f"stac/savanna/assets/s2/S2A_MSIL2A_20200811_savanna/{band}.tif") as scene:
            stored = scene.read(1, window=scene.window(*bounds).round())
        expected = stored.astype(np.float32) * np.float32(1e-4)
        inside = ~np.isnan(given[index])
        assert inside.mean() > 0.9
        np.testing.assert_array_equal(given[index][inside], expected[inside])


@pytest.mark.parametrize("block_px", [200, 512, 2048])
def test_blocks_do_not_change_a_pixel(block_px: int, demo: Path, identity: Path, tmp_path: Path) -> None:
    for size, out in ((333, "reference"), (block_px, "other")):
        request = request_for(
            str(demo / "aoi.geojson"), demo / "catalog.json", identity, **SEASON, options=MapOptions(block_px=size)
        )
        map_into(request, tmp_path / out)
    for name in ("landcover", "quality", "s2_identity", "s1_identity", "validity"):
        np.testing.assert_array_equal(
            pixels(tmp_path / "other" / f"{name}.tif"), pixels(tmp_path / "reference" / f"{name}.tif")
        )


@pytest.mark.parametrize(("chip_px", "block_px"), [(64, 2048), (256, 2048), (128, 333), (128, 512)])
def test_chips_and_blocks_leave_no_seam(chip_px: int, block_px: int, demo: Path, tmp_path: Path) -> None:
    for size, block, out in ((1024, 4096, "whole"), (chip_px, block_px, "tiled")):
        write_blur_bundle(tmp_path / f"blur{size}", chip_px=size, batch=1)
        options = MapOptions(block_px=block, outputs=("probabilities",))
        request = request_for(
            str(demo / "aoi.geojson"), demo / "catalog.json", tmp_path / f"blur{size}", **SEASON, options=options
        )
        map_into(request, tmp_path / out)
    whole, tiled = (pixels(tmp_path / out / "probabilities.tif") for out in ("whole", "tiled"))
    assert np.nanstd(whole) > 0.01  # a model that sees something
    np.testing.assert_allclose(tiled, whole, atol=1e-5, rtol=0)


def test_a_halo_that_is_too_small_would_show(demo: Path, tmp_path: Path) -> None:
    write_blur_bundle(tmp_path / "whole", chip_px=1024, batch=1)
    write_blur_bundle(tmp_path / "short", chip_px=64, halo_px=4)
    for name in ("whole", "short"):
        request = request_for(
            str(demo / "aoi.geojson"),
            demo / "catalog.json",
            tmp_path / name,
            **SEASON,
            options=MapOptions(outputs=("probabilities",)),
        )
        map_into(request, tmp_path / "maps" / name)
    whole, short = (pixels(tmp_path / "maps" / name / "probabilities.tif") for name in ("whole", "short"))
    assert np.nanmax(np.abs(whole - short)) > 1e-3


def test_neighbouring_jobs_agree_where_they_meet(demo: Path, tmp_path: Path) -> None:
    write_blur_bundle(tmp_path / "blur", chip_px=128)
    with rasterio.open(demo / "truth.tif") as truth:
        lon, lat = truth.lnglat()
    boxes = {
        "west": (lon - 0.012, lat - 0.010, lon + 0.003, lat + 0.010),
        "east": (lon + 0.000, lat - 0.007, lon + 0.013, lat + 0.012),
    }
    for name, bbox in boxes.items():
        map_into(
            request_for(",".join(map(str, bbox)), demo / "catalog.json", tmp_path / "blur", **SEASON), tmp_path / name
        )
    with (
        rasterio.open(tmp_path / "west/probabilities.tif") as west,
        rasterio.open(tmp_path / "east/probabilities.tif") as east,
    ):
        common = overlap(west.bounds, east.bounds)
        first, second = (each.read(window=each.window(*common).round()) for each in (west, east))
    both = ~np.isnan(first) & ~np.isnan(second)
    assert both.sum() > 1000
    np.testing.assert_allclose(first[both], second[both], atol=1e-5, rtol=0)


def test_the_report_says_what_the_rasters_hold(demo: Path, tmp_path: Path) -> None:
    request = request_for(str(demo / "aoi.geojson"), demo / "catalog.json", "spectral-rules", **SEASON)
    result = map_into(request, tmp_path / "out")
    landcover = pixels(tmp_path / "out" / "landcover.tif")[0]
    quality = pixels(tmp_path / "out" / "quality.tif")
    assert result.state is JobState.SUCCESSFUL
    assert result.aoi_px == np.count_nonzero(quality[0] != 255)
    assert result.mapped_px == np.count_nonzero(landcover)
    for entry in result.classes:
        assert entry.pixels == np.count_nonzero(landcover == entry.value)
        assert entry.area_km2 == pytest.approx(entry.pixels * 1e-4)
    assert result.unobserved_px[Modality.S2] == np.count_nonzero((quality[2] & 1 == 0) & (quality[0] != 255))
    assert sum(entry.share for entry in result.classes) == pytest.approx(1)
    assert {name.name for name in result.artifacts} | {"report.json", "collection.json", "item.json"} == {
        path.name for path in (tmp_path / "out").iterdir()
    }


def test_radar_answers_under_cloud_and_the_variance_says_so(demo: Path, tmp_path: Path) -> None:
    request = request_for(str(demo / "aoi.geojson"), demo / "catalog.json", "spectral-rules", **SEASON)
    everything = MapOptions(max_cloud_cover_percent=0)
    map_into(request, tmp_path / "both")
    radar = request.model_copy(update={"options": everything})
    map_into(radar, tmp_path / "radar")
    both, alone = (pixels(tmp_path / name / "landcover.tif")[0] for name in ("both", "radar"))
    assert np.count_nonzero(alone) > 0.9 * np.count_nonzero(both)
    embedding = [pixels(tmp_path / name / "variance.tif")[2] for name in ("both", "radar")]
    seen = (both != 0) & (alone != 0)
    assert embedding[1][seen].mean() > embedding[0][seen].mean()
