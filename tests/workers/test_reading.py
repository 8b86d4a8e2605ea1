"""Pixels of one band on a grid, against rasterio, scipy and pyproj."""

from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from pyproj import Transformer
from scipy import ndimage

from contract.bands import Unit
from contract.errors import AssetUnreadable
from contract.grid import Grid, Window
from contract.scene import Area, Radiometry
from tests.rasters import GRID, LEFT_M, PHYSICAL, POWER, TOP_M, scene_of, write_raster
from workers.arrays import FloatArray
from workers.radar_border import EDGE_PX, NOISE_PX
from workers.reading import SceneReader
from workers.resampling import BandPixels, Resampling

PIECES = [Window(row=row, col=col, height=13, width=17) for row in range(-13, 65, 13) for col in range(-17, 102, 17)]
NOISE = np.random.default_rng(3).normal(0.2, 0.1, GRID.shape).astype(np.float32)


def read(
    path: Path,
    *,
    grid: Grid = GRID,
    window: Window | None = None,
    radiometry: Radiometry = PHYSICAL,
    resampling: Resampling = Resampling.BILINEAR,
) -> BandPixels:
    band = "VV" if radiometry.unit in {Unit.LINEAR_POWER, Unit.DECIBEL} else "B02"
    scene = scene_of({band: path}, radiometry=radiometry)
    return SceneReader().read(scene, band, grid=grid, window=window or grid.window, resampling=resampling)


def assert_same_in_pieces(path: Path, *, grid: Grid = GRID, radiometry: Radiometry = PHYSICAL) -> None:
    frame = Window(row=-13, col=-17, height=78, width=119)
    whole = read(path, grid=grid, window=frame, radiometry=radiometry)
    assert whole.values.any()
    for piece in PIECES:
        part = read(path, grid=grid, window=piece, radiometry=radiometry)
        place = piece.slices_in(frame)
        np.testing.assert_array_equal(part.values, whole.values[place])
        np.testing.assert_array_equal(part.missing, whole.missing[place])


# --- stored numbers ---------------------------------------------------------------------------------------------------


def test_the_same_lattice_is_read_to_the_bit(tmp_path: Path) -> None:
    stored = np.random.default_rng(0).integers(1, 12_000, GRID.shape).astype(np.uint16)
    path = write_raster(tmp_path / "b.tif", stored)
    radiometry = Radiometry(unit=Unit.REFLECTANCE, scale=1e-4, offset=-0.1, nodata=0, reason="baseline 04.00")
    window = Window(row=7, col=11, height=20, width=31)
    expected = stored[7:27, 11:42].astype(np.float32) * np.float32(1e-4) + np.float32(-0.1)
    np.testing.assert_array_equal(read(path, window=window, radiometry=radiometry).values, expected)


def test_a_window_may_stick_out_on_every_side(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "b.tif", NOISE)
    pixels = read(path, window=GRID.window.grown(5))
    np.testing.assert_array_equal(pixels.values, np.pad(NOISE, 5))
    np.testing.assert_array_equal(pixels.missing, np.pad(np.zeros(GRID.shape, np.bool_), 5, constant_values=True))


def test_a_window_beside_the_scene_is_missing(tmp_path: Path) -> None:
    pixels = read(write_raster(tmp_path / "b.tif", NOISE), window=Window(row=0, col=5000, height=3, width=4))
    assert pixels.missing.all()
    assert not pixels.values.any()


@pytest.mark.parametrize(
    ("in_file", "in_catalogue", "missing"),
    [
        (None, None, [False, False, True, True, False]),
        (0.0, None, [True, False, True, True, False]),
        (0.0, 5.0, [False, True, True, True, False]),
        (float("nan"), None, [False, False, True, True, False]),
        (None, float("nan"), [False, False, True, True, False]),
        (-9999.0, None, [False, False, True, True, True]),
    ],
)
def test_nodata_is_the_catalogues_or_the_files_and_never_finite_else(
    tmp_path: Path, in_file: float | None, in_catalogue: float | None, missing: list[bool]
) -> None:
    stored = np.array([[0, 5, np.nan, np.inf, -9999]], np.float32)
    path = write_raster(tmp_path / "b.tif", stored, nodata=in_file)
    radiometry = Radiometry(unit=Unit.REFLECTANCE, scale=2, nodata=in_catalogue, reason="test")
    pixels = read(path, window=Window(row=0, col=0, height=1, width=5), radiometry=radiometry)
    assert pixels.missing[0].tolist() == missing
    np.testing.assert_array_equal(pixels.values, np.where(missing, 0, stored * 2))


def test_scale_and_offset_inside_a_file_are_left_alone(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "b.tif", NOISE)
    with rasterio.open(path, "r+") as raster:
        raster.scales, raster.offsets = (10.0,), (3.0,)
    np.testing.assert_array_equal(read(path).values, NOISE)


def test_jpeg_2000_is_read_as_products_come_in_it(tmp_path: Path) -> None:
    stored = np.random.default_rng(0).integers(1, 12_000, GRID.shape).astype(np.uint16)
    path = write_raster(tmp_path / "b.tif", stored)
    rasterio.shutil.copy(path, tmp_path / "b.jp2", driver="JP2OpenJPEG", QUALITY=100, REVERSIBLE="YES")
    np.testing.assert_array_equal(read(tmp_path / "b.jp2").values, stored)


# --- other pixel sizes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("phase_px", [0, 1])
def test_20_m_classes_are_repeated_at_any_phase(tmp_path: Path, phase_px: int) -> None:
    classes = np.random.default_rng(1).integers(1, 12, (40, 60)).astype(np.uint8)
    path = write_raster(
        tmp_path / "scl.tif", classes, resolution_m=20, left_m=LEFT_M - 10 * phase_px, top_m=TOP_M + 10 * phase_px
    )
    expected = classes.repeat(2, axis=0).repeat(2, axis=1)[phase_px : 60 + phase_px, phase_px : 100 + phase_px]
    np.testing.assert_array_equal(read(path, resampling=Resampling.NEAREST).values, expected)


@pytest.mark.parametrize("phase_px", [0, 1])
def test_20_m_reflectance_is_interpolated_between_centres(tmp_path: Path, phase_px: int) -> None:
    coarse = np.random.default_rng(1).random((40, 60)).astype(np.float32)
    path = write_raster(
        tmp_path / "b.tif", coarse, resolution_m=20, left_m=LEFT_M - 10 * phase_px, top_m=TOP_M + 10 * phase_px
    )
    rows, cols = (np.arange(length) / 2 + 0.25 + phase_px / 2 - 0.5 for length in GRID.shape)
    expected = ndimage.map_coordinates(coarse, np.meshgrid(rows, cols, indexing="ij"), order=1, mode="nearest")
    np.testing.assert_allclose(read(path).values, expected, rtol=1e-6)
    assert_same_in_pieces(path)


def test_a_missing_neighbour_has_no_weight(tmp_path: Path) -> None:
    coarse = np.full((30, 50), 7, np.float32)
    coarse[3:5, 6] = coarse[20, 30] = np.nan
    pixels = read(write_raster(tmp_path / "b.tif", coarse, resolution_m=20))
    np.testing.assert_array_equal(pixels.missing, np.isnan(coarse).repeat(2, axis=0).repeat(2, axis=1))
    np.testing.assert_allclose(pixels.values[~pixels.missing], 7, rtol=1e-6)
    assert not pixels.values[pixels.missing].any()


# --- other projections ------------------------------------------------------------------------------------------------

SEAMS = pytest.mark.parametrize(
    ("scene_crs", "grid_crs", "lon_deg", "lat_deg"),
    [
        ("EPSG:32632", "EPSG:32633", 12.0, 48.0),
        ("EPSG:32633", "EPSG:32632", 12.0, 69.5),
        ("EPSG:32760", "EPSG:32701", 180.0, -17.0),
        ("EPSG:32701", "EPSG:32760", -179.99, -17.0),
        ("EPSG:4326", "EPSG:32633", 12.5, 42.0),
    ],
)
SIDE_PX = 400


def seam(scene_crs: str, grid_crs: str, lon_deg: float, lat_deg: float) -> tuple[Grid, float, float, float]:
    """A grid at a place, and the upper left corner and pixel size of a scene that surrounds it."""
    x, y = Transformer.from_crs("EPSG:4326", grid_crs, always_xy=True).transform(lon_deg, lat_deg)
    grid = Grid(crs=grid_crs, left_m=x // 10 * 10, top_m=y // 10 * 10, resolution_m=10, height=60, width=100)
    resolution = 1e-4 if scene_crs == "EPSG:4326" else 10
    left, top = Transformer.from_crs(grid_crs, scene_crs, always_xy=True).transform(x + 500, y - 300)
    half = SIDE_PX / 2 * resolution
    # A corner off the 10 m lattice shows a shift of half a pixel.
    return grid, left - half + 0.3 * resolution, top + half + 0.4 * resolution, resolution


def centres_in(crs: str, grid: Grid) -> tuple[FloatArray, FloatArray]:
    """Coordinates of the grid's pixel centres in another CRS, by pyproj."""
    cols, rows = np.meshgrid(np.arange(grid.width) + 0.5, np.arange(grid.height) + 0.5)
    project = Transformer.from_crs(grid.crs, crs, always_xy=True)
    x, y = project.transform(grid.left_m + cols * 10, grid.top_m - rows * 10)
    return x, y


@SEAMS
def test_each_pixel_holds_the_position_of_its_centre(
    tmp_path: Path, scene_crs: str, grid_crs: str, lon_deg: float, lat_deg: float
) -> None:
    grid, left, top, resolution = seam(scene_crs, grid_crs, lon_deg, lat_deg)
    cols, rows = np.meshgrid(np.arange(SIDE_PX, dtype=np.float32) + 0.5, np.arange(SIDE_PX, dtype=np.float32) + 0.5)
    x, y = centres_in(scene_crs, grid)
    for values, expected in ((cols, (x - left) / resolution), (rows, (top - y) / resolution)):
        path = write_raster(tmp_path / "b.tif", values, crs=scene_crs, left_m=left, top_m=top, resolution_m=resolution)
        pixels = read(path, grid=grid)
        assert not pixels.missing.any()
        np.testing.assert_allclose(pixels.values, expected, atol=1e-3)  # pixels; 1 cm for a 10 m scene


@SEAMS
def test_each_pixel_holds_the_class_at_its_centre(
    tmp_path: Path, scene_crs: str, grid_crs: str, lon_deg: float, lat_deg: float
) -> None:
    grid, left, top, resolution = seam(scene_crs, grid_crs, lon_deg, lat_deg)
    classes = np.random.default_rng(5).integers(1, 12, (SIDE_PX, SIDE_PX)).astype(np.uint8)
    path = write_raster(tmp_path / "b.tif", classes, crs=scene_crs, left_m=left, top_m=top, resolution_m=resolution)
    x, y = centres_in(scene_crs, grid)
    rows, cols = (top - y) / resolution, (x - left) / resolution
    # Within a thousandth of an edge either side is right.
    sure = (np.abs(rows - rows.round()) > 1e-3) & (np.abs(cols - cols.round()) > 1e-3)
    pixels = read(path, grid=grid, resampling=Resampling.NEAREST)
    expected = classes[rows.astype(int), cols.astype(int)]
    np.testing.assert_array_equal(pixels.values[sure], expected[sure])
    assert sure.mean() > 0.99


def test_a_warped_pixel_does_not_depend_on_the_window(tmp_path: Path) -> None:
    grid, left, top, _ = seam("EPSG:32632", "EPSG:32633", 12.0, 48.0)
    values = np.random.default_rng(2).random((70, 80)).astype(np.float32)  # ends inside the grid
    values[values > 0.8] = np.nan
    path = write_raster(tmp_path / "b.tif", values, crs="EPSG:32632", left_m=left + 1600, top_m=top - 1600)
    assert_same_in_pieces(path, grid=grid)


# --- radar ------------------------------------------------------------------------------------------------------------


def test_decibels_are_interpolated_as_power(tmp_path: Path) -> None:
    stored = np.tile(np.array([-20, 0], np.float32), (30, 25))
    radiometry = Radiometry(unit=Unit.DECIBEL, reason="GRD")
    pixels = read(write_raster(tmp_path / "vv.tif", stored, resolution_m=20), radiometry=radiometry)
    np.testing.assert_allclose(pixels.values[:, 1], 0.75 * 0.01 + 0.25 * 1, rtol=1e-5)


def test_power_of_zero_or_less_is_missing(tmp_path: Path) -> None:
    power = np.full(GRID.shape, 0.1, np.float32)
    power[10, 10], power[20, 20] = 0, -1e-6
    pixels = read(write_raster(tmp_path / "vv.tif", power), radiometry=POWER)
    assert np.argwhere(pixels.missing).tolist() == [[10, 10], [20, 20]]


def test_the_edge_of_a_swath_is_dropped_and_the_edge_of_the_raster_is_kept(tmp_path: Path) -> None:
    power = np.full(GRID.shape, 0.1, np.float32)
    power[:, :30] = 0
    expected = np.zeros(GRID.shape, np.bool_)
    expected[:, : 30 + EDGE_PX] = True
    pixels = read(write_raster(tmp_path / "vv.tif", power), radiometry=POWER)
    np.testing.assert_array_equal(pixels.missing, expected)


def test_power_below_noise_is_dropped_near_an_edge_only(tmp_path: Path) -> None:
    power = np.full(GRID.shape, 1e-4, np.float32)
    power[:, :30] = 0
    expected = np.zeros(GRID.shape, np.bool_)
    expected[:, : 30 + NOISE_PX] = True
    pixels = read(write_raster(tmp_path / "vv.tif", power), radiometry=POWER)
    np.testing.assert_array_equal(pixels.missing, expected)


def test_the_edge_of_a_swath_does_not_depend_on_the_window(tmp_path: Path) -> None:
    random = np.random.default_rng(6)
    power = random.gamma(1, 3e-4, GRID.shape).astype(np.float32)
    power[np.add.outer(np.arange(60), np.arange(100)) < 50] = 0
    power[random.random(GRID.shape) < 0.02] = 0
    assert_same_in_pieces(write_raster(tmp_path / "vv.tif", power), radiometry=POWER)


# --- what cannot be read ----------------------------------------------------------------------------------------------


def test_a_missing_file_is_unreadable(tmp_path: Path) -> None:
    scene = scene_of({"B02": write_raster(tmp_path / "b.tif", NOISE)})
    (tmp_path / "b.tif").unlink()
    with pytest.raises(AssetUnreadable, match="No such file"):
        SceneReader().read(scene, "B02", grid=GRID, window=GRID.window)


def test_a_band_that_a_scene_has_not_is_unreadable(tmp_path: Path) -> None:
    scene = scene_of({"B02": write_raster(tmp_path / "b.tif", NOISE)})
    with pytest.raises(AssetUnreadable, match="no such asset"):
        SceneReader().read(scene, "B03", grid=GRID, window=GRID.window)


def test_a_file_that_does_not_say_where_it_lies_is_unreadable(tmp_path: Path) -> None:
    scene = scene_of({"B02": write_raster(tmp_path / "b.tif", NOISE, crs=None)}, footprint=Area(coordinates=()))
    with pytest.raises(AssetUnreadable, match="where it lies"):
        SceneReader().read(scene, "B02", grid=GRID, window=GRID.window)


def test_a_file_that_refers_to_others_is_not_followed(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "secret.tif", NOISE)
    vrt = tmp_path / "b.vrt"
    vrt.write_text(
        f'<VRTDataset rasterXSize="100" rasterYSize="60"><SRS>EPSG:32633</SRS>'
        f"<GeoTransform>{LEFT_M}, 10, 0, {TOP_M}, 0, -10</GeoTransform>"
        f'<VRTRasterBand dataType="Float32" band="1"><SimpleSource><SourceFilename>{path}</SourceFilename>'
        f"<SourceBand>1</SourceBand></SimpleSource></VRTRasterBand></VRTDataset>"
    )
    with rasterio.open(vrt) as raster:
        np.testing.assert_array_equal(raster.read(1), NOISE)  # GDAL itself would follow it
    scene = scene_of({"B02": vrt})
    with pytest.raises(AssetUnreadable, match="not recognized"):
        SceneReader().read(scene, "B02", grid=GRID, window=GRID.window)
