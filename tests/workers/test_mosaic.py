"""Mosaics hold the pixels of their jobs, in one zone to the bit, over zones by nearest neighbour, and open by URL."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
import shapely
from numpy.typing import NDArray
from pyproj import Transformer
from rasterio.enums import Resampling

from contract.grid import Grid
from contract.legend import WORLDCOVER
from contract.request import BundleReference
from contract.scene import Area
from tests.qgis import answer_of
from tests.servers import file_server
from workers.mosaic import Region, Sheet, write_mosaics
from workers.products.rasters import mosaic_to_cog, write_block_raster
from workers.products.spec import RasterSpec

BUNDLE = BundleReference(name="test", version="1", kind="rules", sha256="0" * 64)
LANDCOVER = RasterSpec(
    name="landcover",
    dtype="uint8",
    nodata=0,
    bands=("class",),
    overviews="MODE",
    legend=WORLDCOVER,
    description="Classes",
)
VARIANCE = RasterSpec(
    name="variance",
    dtype="uint16",
    nodata=65535,
    bands=("total", "embedding"),
    overviews="AVERAGE",
    scale=1e-4,
    description="Variance",
)
REGION = Area(coordinates=((((11.6, 49.5), (12.4, 49.5), (12.4, 49.9), (11.6, 49.9), (11.6, 49.5)),),))
SPECS = (LANDCOVER, VARIANCE)


def write_job(root: Path, job_id: str, grid: Grid, seed: int) -> Sheet:
    """Published rasters of noise with nodata in two places."""
    random, folder = np.random.default_rng(seed), root / job_id
    (folder / "block").mkdir(parents=True)
    for spec in SPECS:
        shape = (len(spec.bands), *grid.shape)
        values = random.choice([10, 20, 30, 50], shape) if spec is LANDCOVER else random.integers(0, 9000, shape)
        stored = values.astype(spec.dtype)
        stored[:, :20, :30] = stored[:, 150:200, 40:80] = spec.nodata
        write_block_raster(folder / "block" / f"{spec.name}.tif", spec, stored, grid, grid.window)
        blocks = [(grid.window, folder / "block" / f"{spec.name}.tif")]
        mosaic_to_cog(spec, blocks, grid, folder / f"{spec.name}.tif", attribution="test")
    shutil.rmtree(folder / "block")
    return Sheet(job_id=job_id, grid=grid, bundle=BUNDLE, years=frozenset({2020 + seed}))


def grid(crs: int, left_m: float, top_m: float, height: int, width: int) -> Grid:
    return Grid(crs=f"EPSG:{crs}", left_m=left_m, top_m=top_m, resolution_m=10, height=height, width=width)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of jobs on both sides of 12 degrees east, of which two overlap; "run" has the mosaics of all, "west" of two."""
    root = tmp_path_factory.mktemp("results")
    corner_x, corner_y = (
        round(value, -2) for value in Transformer.from_crs(4326, 32632, always_xy=True).transform(11.95, 49.7)
    )
    west = [
        write_job(root, "west-1", grid(32632, corner_x - 3000, corner_y, 300, 300), 1),
        write_job(root, "west-2", grid(32632, corner_x - 1000, corner_y + 1000, 350, 420), 2),
    ]
    corner_x, corner_y = (
        round(value, -2) for value in Transformer.from_crs(4326, 32633, always_xy=True).transform(12.0, 49.7)
    )
    east = [write_job(root, "east-1", grid(32633, corner_x, corner_y, 310, 290), 3)]
    for name, sheets in (("west", west), ("run", [*west, *east])):
        (root / name).mkdir()
        write_mosaics(root / name, SPECS, Region(area=REGION, sheets=sheets))
    return root


def read(path: Path) -> NDArray[np.generic]:
    with rasterio.open(path) as raster:
        return raster.read()


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_in_one_zone_every_pixel_is_the_jobs_and_the_rest_is_nodata(spec: RasterSpec, root: Path) -> None:
    jobs = {name: read(root / name / f"{spec.name}.tif") for name in ("west-1", "west-2")}
    expected = np.full((len(spec.bands), 400, 620), spec.nodata, spec.dtype)
    expected[:, 100:400, 0:300] = jobs["west-1"]
    later = expected[:, 0:350, 200:620]
    later[...] = np.where(jobs["west-2"] == spec.nodata, later, jobs["west-2"])
    with rasterio.open(root / "west" / f"{spec.name}.vrt") as mosaic:
        np.testing.assert_array_equal(mosaic.read(), expected)
        with rasterio.open(root / "west-1" / f"{spec.name}.tif") as one:
            for mine, its in (
                (mosaic.descriptions, one.descriptions),
                (mosaic.nodata, one.nodata),
                (mosaic.crs, one.crs),
                (mosaic.scales, one.scales),
            ):
                assert mine == its
            if spec is LANDCOVER:
                for entry in WORLDCOVER.classes:
                    assert mosaic.colormap(1)[entry.value] == one.colormap(1)[entry.value] == (*entry.rgb, 255)
        assert mosaic.tags()["TIFFTAG_COPYRIGHT"].endswith("2021-2022")
    assert {path.name for path in (root / "west").iterdir()} == {"landcover.vrt", "variance.vrt"}


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_over_zones_each_pixel_is_the_one_of_a_job_that_lies_there(spec: RasterSpec, root: Path) -> None:
    """Each centre of the mosaic is projected by pyproj into each job; it must hold what is within a tenth of a pixel."""
    jobs = {}
    for name in ("west-1", "west-2", "east-1"):
        with rasterio.open(root / name / f"{spec.name}.tif") as raster:
            jobs[name] = raster.crs, raster.transform, raster.read(1)
    with rasterio.open(root / "run" / f"{spec.name}.vrt") as mosaic:
        found, crs = mosaic.read(1), mosaic.crs
        assert "Azimuthal" in crs.to_wkt()
        x, y = (np.reshape(centres, mosaic.shape) for centres in mosaic.xy(*np.indices(mosaic.shape).reshape(2, -1)))
    fits = np.zeros(found.shape, bool)
    beside = np.ones(found.shape, bool)  # clearly outside of every job
    for job_crs, transform, values in jobs.values():
        job_x, job_y = Transformer.from_crs(crs, job_crs, always_xy=True).transform(x, y)
        col, row = (job_x - transform.c) / 10, (transform.f - job_y) / 10
        for shift_row in (-0.2, 0.2):
            for shift_col in (-0.2, 0.2):
                r, c = np.floor(row + shift_row).astype(int), np.floor(col + shift_col).astype(int)
                inside = (r >= 0) & (c >= 0) & (r < values.shape[0]) & (c < values.shape[1])
                its = np.full(found.shape, spec.nodata, found.dtype)
                its[inside] = values[r[inside], c[inside]]
                fits |= (its == found) & (its != spec.nodata)
                beside &= its == spec.nodata
    has_answer = found != spec.nodata
    assert has_answer.sum() > 200_000
    assert fits[has_answer].all()
    assert not has_answer[beside].any()


def test_where_two_zones_meet_there_is_no_gap(root: Path) -> None:
    """Both zones map a strip beyond the meridian: as `workers.region` cuts them."""
    from tests.workers.test_region import region  # noqa: PLC0415
    from workers.aoi import geometry_of  # noqa: PLC0415
    from workers.grid import grid_for, outside_area, project_area  # noqa: PLC0415
    from workers.region import cut_region  # noqa: PLC0415

    out = root / "seam"
    area = region("11.97,49.70,12.03,49.74")
    sheets = []
    for cell in cut_region(area, resolution_m=10):
        lattice = grid_for(geometry_of(cell.area), resolution_m=10, crs=cell.crs)
        outside = outside_area(project_area(geometry_of(cell.area), cell.crs), lattice, lattice.window)
        stored = np.where(outside, 0, 10).astype(np.uint8)[None]
        folder = root / cell.id
        folder.mkdir()
        write_block_raster(folder / "landcover.tif", LANDCOVER, stored, lattice, lattice.window)
        sheets.append(Sheet(job_id=cell.id, grid=lattice, bundle=BUNDLE, years=frozenset({2021})))
    assert len(sheets) == 2
    out.mkdir()
    askew = region("12.6,49.7,13.4,49.74")  # around a meridian that pixels lie along, no place could be missed
    write_mosaics(out, [LANDCOVER], Region(area=askew, sheets=sheets))
    with rasterio.open(out / "landcover.vrt") as mosaic:
        found, crs = mosaic.read(1), mosaic.crs
        x, y = (np.reshape(centres, mosaic.shape) for centres in mosaic.xy(*np.indices(mosaic.shape).reshape(2, -1)))
    lon, lat = Transformer.from_crs(crs, 4326, always_xy=True).transform(x, y)
    inside = shapely.contains_xy(shapely.box(11.9702, 49.7002, 12.0298, 49.7398), lon, lat)
    assert inside.sum() > 150_000
    assert (found[inside] == 10).all()


def test_no_raster_is_opened_to_write_a_mosaic(tmp_path: Path) -> None:
    """The jobs of a region may be hundreds, and lie in a bucket."""
    sheets = [
        Sheet(job_id="gone-1", grid=grid(32632, 700_000, 5_500_000, 100, 120), bundle=BUNDLE, years=frozenset({2024})),
        Sheet(job_id="gone-2", grid=grid(32633, 300_000, 5_500_000, 100, 120), bundle=BUNDLE, years=frozenset({2024})),
    ]
    (path,) = write_mosaics(tmp_path, [LANDCOVER], Region(area=REGION, sheets=sheets))
    with rasterio.open(path) as mosaic:
        assert mosaic.count == 1


def test_a_mosaic_shows_a_region_from_afar_without_reading_all_of_it(root: Path) -> None:
    with rasterio.open(root / "run" / "landcover.vrt") as mosaic:
        assert mosaic.overviews(1)[:2] == [2, 4]
        far = mosaic.read(1, out_shape=(mosaic.height // 8, mosaic.width // 8), resampling=Resampling.nearest)
        near = mosaic.read(1)
    share = (far != 0).mean() / (near != 0).mean()
    assert share == pytest.approx(1, abs=0.1)


def test_mosaics_hold_no_path_of_the_machine(root: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere"
    shutil.copytree(root, moved)
    before = read(root / "run" / "variance.vrt")
    np.testing.assert_array_equal(read(moved / "run" / "variance.vrt"), before)
    for path in (root / "run").glob("*.vrt"):
        assert str(root) not in path.read_text()


def test_a_mosaic_opens_by_url_where_folders_lie_side_by_side(root: Path) -> None:
    script = "import rasterio, sys; print(rasterio.open(sys.argv[1]).read(1).astype(int).sum())"
    with file_server(root) as address:
        url = f"/vsicurl/{address}/run/landcover.vrt"
        ran = subprocess.run(
            [sys.executable, "-c", script, url], capture_output=True, text=True, check=True, timeout=120
        )
    assert int(ran.stdout) == int(read(root / "run" / "landcover.vrt")[0].astype(int).sum())


def test_qgis_opens_a_mosaic(root: Path) -> None:
    script = (
        "import json, sys; from qgis.core import *; app = QgsApplication([], False); app.initQgis();"
        "layer = QgsRasterLayer(sys.argv[1], 'mosaic'); "
        "print(json.dumps([layer.isValid(), layer.bandCount(), layer.width(), layer.crs().isValid()]))"
    )
    with rasterio.open(root / "run" / "landcover.vrt") as mosaic:
        assert answer_of(script, root / "run" / "landcover.vrt") == [True, 1, mosaic.width, True]
