import os
import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rio_cogeo.cogeo import cog_validate

from contract.bundle import Encoding
from contract.errors import OutputNotWritable
from tests.workers.products.conftest import GRID, LEGEND, MANIFEST, Published
from workers.products.files import artifact
from workers.products.publish import write_cogs
from workers.products.rasters import mosaic_to_cog, write_block_raster
from workers.products.spec import raster_specs

RASTERS = ("landcover", "variance", "quality")


@pytest.mark.parametrize("name", RASTERS)
def test_the_cog_holds_what_the_blocks_hold_and_nodata_in_the_hole(published: Published, name: str) -> None:
    with rasterio.open(published.folder / f"{name}.tif") as raster:
        np.testing.assert_array_equal(raster.read(), published.arrays[name])


@pytest.mark.parametrize("name", RASTERS)
def test_the_cog_is_strictly_valid(published: Published, name: str) -> None:
    assert cog_validate(published.folder / f"{name}.tif", strict=True, quiet=True) == (True, [], [])


@pytest.mark.parametrize("name", RASTERS)
def test_the_cog_lies_on_the_grid(published: Published, name: str) -> None:
    with rasterio.open(published.folder / f"{name}.tif") as raster:
        assert raster.crs.to_epsg() == 32633
        assert raster.shape == GRID.shape
        assert raster.bounds == GRID.bounds_m(GRID.window)
        assert raster.transform.to_gdal() == (500_000, 10, 0, 5_000_000, 0, -10)


def test_a_block_raster_lies_where_its_block_is(published: Published) -> None:
    window, folder = published.blocks[-1]
    with rasterio.open(folder / "landcover.tif") as raster:
        assert raster.bounds == GRID.bounds_m(window)
        expected = published.arrays["landcover"][:, *window.slices_in(GRID.window)]
        np.testing.assert_array_equal(raster.read(), expected)


def test_landcover_carries_its_colours(published: Published) -> None:
    with rasterio.open(published.folder / "landcover.tif") as raster:
        colors = raster.colormap(1)
    assert {entry.value: colors[entry.value] for entry in LEGEND.classes} == {
        10: (0, 100, 0, 255),
        30: (255, 255, 76, 255),
        40: (240, 150, 255, 255),
        50: (250, 0, 0, 255),
        80: (0, 100, 200, 255),
    }


def test_variance_carries_names_unit_scale_and_nodata(published: Published) -> None:
    with rasterio.open(published.folder / "variance.tif") as raster:
        assert raster.descriptions == ("total", "aleatoric", "embedding")
        assert raster.units == ("1", "1", "1")
        assert raster.scales == (1e-4, 1e-4, 1e-4)
        assert raster.nodatavals == (65535, 65535, 65535)


@pytest.mark.parametrize("name", RASTERS)
def test_the_file_says_whose_data_it_holds_and_that_rules_claim_nothing(published: Published, name: str) -> None:
    with rasterio.open(published.folder / f"{name}.tif") as raster:
        tags = raster.tags()
    assert tags["AREA_OR_POINT"] == "Area"
    assert tags["TIFFTAG_COPYRIGHT"] == "Contains modified Copernicus Sentinel data 2024"
    assert "sigma-test 0.3 (rules: makes no claim of accuracy)" in tags["TIFFTAG_IMAGEDESCRIPTION"]


def quads(array: np.ndarray) -> np.ndarray:
    """The pixels that share an overview pixel: (bands, rows / 2, cols / 2, 4)."""
    bands, rows, cols = array.shape
    return array.reshape(bands, rows // 2, 2, cols // 2, 2).transpose(0, 1, 3, 2, 4).reshape(bands, rows // 2, -1, 4)


def overview(published: Published, name: str) -> np.ndarray:
    with rasterio.open(published.folder / f"{name}.tif", overview_level=0) as raster:
        return raster.read()


def test_overviews_of_variance_are_averages_without_nodata(published: Published) -> None:
    four = np.ma.masked_equal(quads(published.arrays["variance"]), 65535)
    expected = four.mean(axis=-1).filled(65535)
    assert np.abs(overview(published, "variance") - expected).max() <= 0.5


def test_overviews_of_landcover_are_the_most_frequent_class(published: Published) -> None:
    four = quads(published.arrays["landcover"])
    counts = np.stack([(four == entry.value).sum(axis=-1) for entry in LEGEND.classes])
    clear = np.sort(counts, axis=0)[-1] > np.sort(counts, axis=0)[-2]
    expected = np.array([entry.value for entry in LEGEND.classes])[counts.argmax(axis=0)]
    np.testing.assert_array_equal(overview(published, "landcover")[clear], expected[clear])
    assert clear.mean() > 0.8


def test_overviews_of_quality_are_pixels_of_it(published: Published) -> None:
    four = quads(published.arrays["quality"])
    assert (overview(published, "quality")[..., None] == four).any(axis=-1).all()


def test_nothing_but_products_is_left_in_the_folder(published: Published) -> None:
    assert {path.name for path in published.folder.iterdir()} == {
        "landcover.tif",
        "landcover.tif.aux.xml",
        "variance.tif",
        "quality.tif",
        "landcover.qml",
        "variance.qml",
        "probabilities.tif",
        "probabilities.qml",
        "variance-veil.qml",
        "quality.qml",
        "map.qgs",
        "preview.png",
        "collection.json",
        "item.json",
    }


def test_equal_blocks_give_equal_bytes(published: Published, tmp_path: Path) -> None:
    for path in write_cogs(tmp_path, published.product, published.blocks[::-1]):
        assert artifact(path) == artifact(published.folder / path.name)


def test_checksum_and_size_are_those_of_the_file(published: Published) -> None:
    path = published.folder / "variance.tif"
    told = subprocess.run(["sha256sum", path], capture_output=True, check=True, text=True).stdout.split()[0]
    assert (artifact(path).sha256, artifact(path).size_bytes) == (told, path.stat().st_size)


@contextmanager
def files_end_at(size: int) -> Iterator[None]:
    """Every write beyond this many bytes of a file fails, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def write_variance(published: Published, folder: Path) -> None:
    blocks = [(window, block / "variance.tif") for window, block in published.blocks]
    spec = published.product.spec("variance")
    mosaic_to_cog(spec, blocks, GRID, folder / "variance.tif", attribution=published.product.attribution)


@pytest.mark.parametrize("share", [0.0001, 0.01, 0.2, 0.5, 0.8, 0.95, 0.99, 0.997, 0.9999])
def test_a_disk_that_fills_up_at_any_point_leaves_nothing_behind(
    published: Published, tmp_path: Path, share: float
) -> None:
    needed = (published.folder / "variance.tif").stat().st_size
    with files_end_at(int(share * needed)), pytest.raises(OutputNotWritable, match=r"variance\.tif"):
        write_variance(published, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_keeps_the_raster_that_was_there_before(published: Published, tmp_path: Path) -> None:
    (tmp_path / "variance.tif").write_bytes(b"before")
    with files_end_at(1_000_000), pytest.raises(OutputNotWritable):
        write_variance(published, tmp_path)
    assert (tmp_path / "variance.tif").read_bytes() == b"before"


def test_a_block_raster_on_a_full_disk_is_absent(published: Published, tmp_path: Path) -> None:
    window, _ = published.blocks[0]
    part = published.arrays["variance"][:, *window.slices_in(GRID.window)]
    with files_end_at(10_000), pytest.raises(OutputNotWritable, match="File too large"):
        write_block_raster(tmp_path / "variance.tif", published.product.spec("variance"), part, GRID, window)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_no_folder_is_refused(published: Published, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputNotWritable, match="Not a directory"):
        write_variance(published, tmp_path / "file")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write to every folder")
def test_a_read_only_folder_is_refused(published: Published, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(OutputNotWritable, match="Permission denied"):
        write_variance(published, tmp_path)


def test_a_block_that_was_cut_off_publishes_nothing(published: Published, tmp_path: Path) -> None:
    (window, folder), *_ = published.blocks
    content = (folder / "variance.tif").read_bytes()
    (tmp_path / "block.tif").write_bytes(content[: len(content) // 2])
    with pytest.raises(OutputNotWritable):
        mosaic_to_cog(
            published.product.spec("variance"),
            [(window, tmp_path / "block.tif")],
            GRID,
            tmp_path / "variance.tif",
            attribution="",
        )
    assert not (tmp_path / "variance.tif").exists()


def test_a_float_raster_keeps_every_bit(tmp_path: Path) -> None:
    unchanged = Encoding(dtype="float32", nodata=float("nan"))
    variance = MANIFEST.output("variance").model_copy(update={"encoding": unchanged})
    manifest = MANIFEST.model_copy(update={"outputs": (MANIFEST.output("probabilities"), variance)})
    spec = raster_specs(manifest, ())[-1]
    bits = np.random.default_rng(3).integers(0, 2**32, (3, *GRID.shape), np.uint32)
    values = np.where(np.isnan(bits.view(np.float32)), np.float32(1), bits.view(np.float32))
    values[:, 5, 7] = np.nan
    write_block_raster(tmp_path / "block.tif", spec, values, GRID, GRID.window)
    mosaic_to_cog(spec, [(GRID.window, tmp_path / "block.tif")], GRID, tmp_path / "cog.tif", attribution="")
    with rasterio.open(tmp_path / "cog.tif") as raster:
        np.testing.assert_array_equal(raster.read().view(np.uint32), values.view(np.uint32))
        assert np.isnan(raster.nodata)
