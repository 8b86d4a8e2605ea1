from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from pyproj import Transformer
from rasterio import Affine
from rasterio.enums import Resampling

from contract.bands import Unit
from contract.errors import SampleInvalid, SampleUnreadable
from contract.grid import Window
from tests.training.data.layouts_reben import GRID, write_bands
from training.data.rasters import (
    Raster,
    RasterGrid,
    decibel,
    footprints,
    read_bands,
    read_grid,
    reflectance,
    require_same_grid,
    stacked,
    upsampled,
)

RNG = np.random.default_rng(7)
DIGITAL_NUMBERS = RNG.integers(1, 4000, (3, 5, 9)).astype(np.uint16)


def raster_of(values: np.ndarray, valid: np.ndarray | None = None, names: tuple[str, ...] = ()) -> Raster:
    return Raster(
        path=Path("sample.tif"),
        names=names or tuple(f"band {index}" for index in range(len(values))),
        values=values,
        valid=np.ones(values.shape[1:], bool) if valid is None else valid,
        grid=RasterGrid(crs=None, transform=GRID, shape=values.shape[1:]),
    )


def test_bands_are_found_by_their_descriptions(tmp_path: Path) -> None:
    path = write_bands(tmp_path / "a.tif", DIGITAL_NUMBERS, descriptions=("B8", "B11", "B2"))
    raster = read_bands(path, ("B02", "B08"), order=("B02", "B03", "B08"))
    with rasterio.open(path) as file:
        np.testing.assert_array_equal(raster.values, file.read([3, 1]))
    assert raster.names == ("B02", "B08")


def test_bands_without_descriptions_are_found_by_the_order_given(tmp_path: Path) -> None:
    path = write_bands(tmp_path / "a.tif", DIGITAL_NUMBERS)
    raster = read_bands(path, ("B08",), order=("B02", "B08", "B04"))
    np.testing.assert_array_equal(raster.values, DIGITAL_NUMBERS[1:2])


def test_polarisations_are_found_in_lower_case(tmp_path: Path) -> None:
    path = write_bands(tmp_path / "a.tif", DIGITAL_NUMBERS[:2], descriptions=("vv", "vh"))
    np.testing.assert_array_equal(read_bands(path, ("VH", "VV")).values, DIGITAL_NUMBERS[[1, 0]])


def test_a_window_is_read_where_it_lies(tmp_path: Path) -> None:
    path = write_bands(tmp_path / "a.tif", DIGITAL_NUMBERS, descriptions=("a", "b", "c"))
    raster = read_bands(path, ("a",), window=Window(row=1, col=4, height=3, width=5))
    np.testing.assert_array_equal(raster.values[0], DIGITAL_NUMBERS[0, 1:4, 4:9])
    assert (raster.grid.transform.c, raster.grid.transform.f) == (549220, 7028030)
    assert raster.grid.shape == (3, 5)


@pytest.mark.parametrize(
    ("nodata", "missing"), [(None, [(0, 0)]), (float("nan"), [(0, 0)]), (-9999, [(0, 0), (2, 3)])], ids=str
)
def test_a_pixel_is_valid_where_no_band_misses(tmp_path: Path, nodata: float | None, missing: list) -> None:
    values = np.full((2, 4, 6), -12, np.float32)
    values[0, 0, 0], values[1, 2, 3] = np.nan, -9999
    path = write_bands(tmp_path / "a.tif", values, nodata=nodata, descriptions=("VV", "VH"))
    expected = np.ones((4, 6), bool)
    expected[tuple(np.transpose(missing))] = False
    np.testing.assert_array_equal(read_bands(path, ("VV", "VH")).valid, expected)


def test_a_band_that_is_not_there_is_named(tmp_path: Path) -> None:
    path = write_bands(tmp_path / "a.tif", DIGITAL_NUMBERS, descriptions=("B02", "B03", "B04"))
    with pytest.raises(SampleInvalid, match=r"a\.tif: found bands B02, B03, B04; need also B08"):
        read_bands(path, ("B02", "B08"))


def test_another_number_of_bands_than_in_the_order_is_refused(tmp_path: Path) -> None:
    path = write_bands(tmp_path / "a.tif", DIGITAL_NUMBERS)
    with pytest.raises(SampleInvalid, match="3 bands without descriptions; need the 2 bands VV, VH"):
        read_bands(path, ("VV",), order=("VV", "VH"))


def test_bands_without_descriptions_and_order_are_refused(tmp_path: Path) -> None:
    path = write_bands(tmp_path / "a.tif", DIGITAL_NUMBERS)
    with pytest.raises(SampleInvalid, match="a description of each band"):
        read_bands(path, ("VV",))


def test_complex_pixels_are_refused(tmp_path: Path) -> None:
    path = write_bands(tmp_path / "a.tif", DIGITAL_NUMBERS.astype(np.complex64), descriptions=("a", "b", "c"))
    with pytest.raises(SampleInvalid, match="complex64"):
        read_bands(path, ("a",))


def _missing(path: Path) -> None:
    path.unlink()


def _truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _not_a_raster(path: Path) -> None:
    path.write_text("<html>403 Forbidden</html>")


@pytest.mark.parametrize("break_file", [_missing, _truncated, _not_a_raster])
def test_a_broken_file_is_named(tmp_path: Path, break_file: Callable[[Path], None]) -> None:
    path = write_bands(tmp_path / "a.tif", RNG.integers(1, 9, (2, 300, 200)).astype(np.uint16), descriptions="ab")
    break_file(path)
    with pytest.raises(SampleUnreadable, match=r"cannot read .*a\.tif"):
        read_bands(path, ("a", "b"))


def test_a_file_that_points_to_another_is_not_followed(tmp_path: Path) -> None:
    source = write_bands(tmp_path / "a.tif", DIGITAL_NUMBERS[:1], descriptions=("a",))
    link = tmp_path / "link.vrt"
    link.write_text(
        f'<VRTDataset rasterXSize="9" rasterYSize="5"><VRTRasterBand dataType="UInt16" band="1"><Description>a'
        f"</Description><SimpleSource><SourceFilename>{source}</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>"
    )
    with pytest.raises(SampleUnreadable):
        read_bands(link, ("a",))


def test_a_file_without_georeference_can_be_read(tmp_path: Path) -> None:
    path = write_bands(tmp_path / "a.tif", DIGITAL_NUMBERS, transform=None, descriptions=("a", "b", "c"))
    raster = read_bands(path, ("b",))
    np.testing.assert_array_equal(raster.values[0], DIGITAL_NUMBERS[1])
    assert raster.grid.footprint is None


def test_a_grid_is_read_without_pixels(tmp_path: Path) -> None:
    path = write_bands(tmp_path / "a.tif", DIGITAL_NUMBERS, descriptions=("a", "b", "c"))
    assert read_grid(path) == read_bands(path, ("a",)).grid


# --- several files ---------------------------------------------------------------------------------------------------


def test_files_on_one_grid_are_stacked(tmp_path: Path) -> None:
    first = write_bands(
        tmp_path / "a.tif", DIGITAL_NUMBERS[:1], descriptions=("B02",), nodata=int(DIGITAL_NUMBERS[0, 2, 2])
    )
    second = write_bands(tmp_path / "b.tif", DIGITAL_NUMBERS[1:], descriptions=("B03", "B04"))
    raster = stacked([read_bands(first, ("B02",)), read_bands(second, ("B03", "B04"))])
    np.testing.assert_array_equal(raster.values, DIGITAL_NUMBERS)
    np.testing.assert_array_equal(raster.valid, DIGITAL_NUMBERS[0] != DIGITAL_NUMBERS[0, 2, 2])
    assert raster.names == ("B02", "B03", "B04")


@pytest.mark.parametrize(
    ("transform", "crs", "shape"),
    [
        (GRID @ Affine.translation(0, 0.5), "EPSG:32634", (5, 9)),
        (GRID @ Affine.scale(1.01), "EPSG:32634", (5, 9)),
        (GRID, "EPSG:32635", (5, 9)),
        (GRID, "EPSG:32634", (9, 5)),
    ],
    ids=["moved", "coarser", "other zone", "other shape"],
)
def test_another_grid_is_refused(tmp_path: Path, transform: Affine, crs: str, shape: tuple[int, int]) -> None:
    first = write_bands(tmp_path / "a.tif", DIGITAL_NUMBERS[:1], descriptions=("a",))
    second = write_bands(
        tmp_path / "b.tif", np.ones((1, *shape), np.uint8), transform=transform, crs=crs, descriptions="b"
    )
    with pytest.raises(SampleInvalid, match=r"b\.tif: found .* rows x .* as a\.tif has"):
        require_same_grid([read_bands(first, ("a",)), read_bands(second, ("b",))])


def test_origins_that_are_rounded_differently_are_one_grid(tmp_path: Path) -> None:
    first = write_bands(tmp_path / "a.tif", DIGITAL_NUMBERS[:1], descriptions=("a",))
    rounded = GRID @ Affine.translation(1e-4, -1e-4)
    second = write_bands(tmp_path / "b.tif", DIGITAL_NUMBERS[1:2], transform=rounded, descriptions=("b",))
    require_same_grid([read_bands(first, ("a",)), read_bands(second, ("b",))])


def test_a_file_without_georeference_needs_only_the_same_shape(tmp_path: Path) -> None:
    first = write_bands(tmp_path / "a.tif", DIGITAL_NUMBERS[:1], transform=None, descriptions=("a",))
    second = write_bands(tmp_path / "b.tif", DIGITAL_NUMBERS[1:2], descriptions=("b",))
    require_same_grid([read_bands(first, ("a",)), read_bands(second, ("b",))])


@pytest.mark.parametrize("factor", [2, 6])
def test_coarse_bands_come_as_gdal_interpolates_them(tmp_path: Path, factor: int) -> None:
    path = write_bands(tmp_path / "a.tif", DIGITAL_NUMBERS.astype(np.float32), descriptions=("a", "b", "c"))
    with rasterio.open(path) as file:
        shape = (3, 5 * factor, 9 * factor)
        expected = file.read(out_shape=shape, resampling=Resampling.bilinear)
    fine = upsampled(read_bands(path, ("a", "b", "c")), factor)
    np.testing.assert_allclose(fine.values, expected, rtol=1e-5)
    assert fine.valid.all()


def test_upsampled_bands_cover_the_same_ground(tmp_path: Path) -> None:
    coarse = read_bands(write_bands(tmp_path / "a.tif", DIGITAL_NUMBERS, descriptions="abc"), ("a",))
    fine = upsampled(coarse, 2)
    assert fine.grid.shape == (10, 18)
    assert fine.grid.transform @ (18, 10) == coarse.grid.transform @ (9, 5)


def test_nothing_is_interpolated_from_a_missing_pixel() -> None:
    valid = np.ones((5, 9), bool)
    valid[2, 4] = False
    poisoned = np.where(valid, 100.0, np.nan).astype(np.float32)[None]
    fine = upsampled(raster_of(poisoned, valid), 2)
    assert not fine.valid[3:7, 7:11].any()
    assert fine.valid.sum() == 10 * 18 - 4 * 4
    np.testing.assert_array_equal(fine.values[0][fine.valid], 100)


# --- units -----------------------------------------------------------------------------------------------------------


def test_digital_numbers_become_reflectance() -> None:
    seen = reflectance(raster_of(DIGITAL_NUMBERS), offset=-0.1)
    np.testing.assert_allclose(seen.values, DIGITAL_NUMBERS / 10000 - 0.1, atol=1e-6)
    assert seen.values.dtype == np.float32


def test_digital_number_0_of_any_band_was_not_observed() -> None:
    stored = DIGITAL_NUMBERS.copy()
    stored[:, 0, 0] = stored[1, 3, 7] = 0
    seen = reflectance(raster_of(stored))
    np.testing.assert_array_equal(seen.valid, (stored > 0).all(axis=0))
    assert not seen.values[:, ~seen.valid].any()


def test_missing_pixels_are_0_in_physical_units() -> None:
    valid = RNG.random((5, 9)) < 0.5
    stored = np.where(valid, -12.0, np.nan).astype(np.float32)[None]
    seen = decibel(raster_of(stored, valid))
    np.testing.assert_array_equal(seen.values[0], np.where(valid, np.float32(-12), 0))


def test_a_sample_without_any_observation_passes_as_such() -> None:
    nothing = raster_of(np.full((2, 5, 9), np.nan, np.float32), np.zeros((5, 9), bool))
    assert not reflectance(nothing).valid.any()
    assert not decibel(nothing).valid.any()
    assert not decibel(nothing, unit=Unit.LINEAR_POWER).valid.any()


def test_reflectance_where_digital_numbers_are_needed_is_refused() -> None:
    with pytest.raises(SampleInvalid, match=r"found values .*look like reflectance; need digital numbers"):
        reflectance(raster_of(DIGITAL_NUMBERS / np.float32(10000)))


def test_digital_numbers_where_reflectance_is_needed_are_refused() -> None:
    median = f"{np.median(DIGITAL_NUMBERS):.4g}"
    with pytest.raises(SampleInvalid, match=rf"found reflectance .*median {median} .*need a median between"):
        reflectance(raster_of(DIGITAL_NUMBERS), scale=1)


def test_an_offset_that_leaves_no_light_is_refused() -> None:
    dark = RNG.integers(1, 600, (3, 5, 9)).astype(np.uint16)
    with pytest.raises(SampleInvalid, match=r"\* 0.0001 \+ -0.1; need a median between"):
        reflectance(raster_of(dark), offset=-0.1)


def test_linear_power_where_decibel_is_needed_is_refused() -> None:
    power = RNG.gamma(4, 0.02, (2, 5, 9)).astype(np.float32)
    with pytest.raises(SampleInvalid, match=r"found VV of .*look like linear power; need dB"):
        decibel(raster_of(power, names=("VV", "VH")))


def test_decibel_where_linear_power_is_needed_is_refused() -> None:
    stored = RNG.normal(-12, 3, (2, 5, 9)).astype(np.float32)
    with pytest.raises(SampleInvalid, match="look like dB; need linear power"):
        decibel(raster_of(stored), unit=Unit.LINEAR_POWER)


def test_values_that_no_ground_returns_are_refused() -> None:
    stored = np.stack([np.full((5, 9), -12), np.full((5, 9), -99)]).astype(np.float32)
    with pytest.raises(SampleInvalid, match=r"found VH of -99\.\.-99"):
        decibel(raster_of(stored, names=("VV", "VH")))


def test_linear_power_becomes_decibel() -> None:
    power = np.array([[[0.1, 0.01, 1, 0]], [[0.05, 0.002, 0.5, 0.1]]], np.float32)
    seen = decibel(raster_of(power), unit=Unit.LINEAR_POWER)
    np.testing.assert_array_equal(seen.valid, [[True, True, True, False]])
    np.testing.assert_allclose(seen.values[0, 0], [-10, -20, 0, 0], atol=1e-5)


# --- footprints ------------------------------------------------------------------------------------------------------


def test_a_footprint_goes_through_the_middles_of_the_sides() -> None:
    grid = RasterGrid(crs=rasterio.CRS.from_epsg(32634), transform=GRID, shape=(120, 60))
    project = Transformer.from_crs(32634, 4326, always_xy=True).transform
    box = grid.footprint
    assert box is not None
    assert box.west_deg == pytest.approx(project(549180, 7027440)[0], abs=1e-9)
    assert box.east_deg == pytest.approx(project(549780, 7027440)[0], abs=1e-9)
    assert box.south_deg == pytest.approx(project(549480, 7026840)[1], abs=1e-9)
    assert box.north_deg == pytest.approx(project(549480, 7028040)[1], abs=1e-9)


def test_west_is_above_east_across_the_antimeridian() -> None:
    project = Transformer.from_crs(4326, 32660, always_xy=True).transform
    x, y = project(180, 65)
    grid = RasterGrid(crs=rasterio.CRS.from_epsg(32660), transform=Affine(10, 0, x - 600, 0, -10, y), shape=(90, 120))
    box = grid.footprint
    assert box is not None
    assert 179 < box.west_deg <= 180
    assert -180 <= box.east_deg < -179


def test_footprints_of_many_samples_are_those_of_each() -> None:
    crs = rasterio.CRS.from_epsg(32634)
    grids = [
        RasterGrid(crs=crs, transform=GRID @ Affine.translation(120 * step, 0), shape=(120, 120)) for step in range(3)
    ]
    steps = np.array([[1200.0 * step, 0] for step in range(3)])
    sides = np.array([(549180, 7027440), (550380, 7027440), (549780, 7026840), (549780, 7028040)])
    assert footprints(crs, sides + steps[:, None]) == [grid.footprint for grid in grids]
