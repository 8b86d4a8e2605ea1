"""Regions are cut the same way for ever, without gap or overlap, and what meets at a cell's edge meets to the bit."""

import json
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import rasterio
import shapely
from pyproj import Geod, Transformer
from rasterio.windows import from_bounds
from shapely import MultiPolygon

from contract.grid import Grid, Window
from contract.request import MapOptions, MapRequest
from contract.scene import Area
from tests.bundles import write_blur_bundle
from tests.e2e.conftest import map_into
from tests.rasters import write_raster
from tests.workers.sources.examples import s1_item, s2_item
from workers.aoi import area_of, geometry_of, read_aoi
from workers.grid import grid_for, outside_area, project_area
from workers.region import CELL_M, OVERLAP_DEG, Cell, cut_region


def region(given: str) -> Area:
    return read_aoi(given, max_area_km2=1e9).area()


def grid_of(cell: Cell) -> Grid:
    return grid_for(geometry_of(cell.area), resolution_m=10, crs=cell.crs)


def corner_m(cell: Cell) -> tuple[float, float]:
    """Of the cell, left and bottom, as its name says."""
    _, east, north = cell.id.rsplit("-", 2)
    return int(east) * 1000.0, int(north) * 1000.0


REGIONS = {
    "Bohemia, over 12 degrees east": "11.5,49.2,15.2,50.4",
    "equator": "32.2,-0.5,33.4,0.6",
    "antimeridian": "178.9,-17.9,-179.2,-16.6",
    "Bergen, where zone 32 is wide": "2.6,59.5,6.9,60.6",
    "Svalbard, where zones are bent": "19.5,78.5,23.5,79.3",
    "Drake Passage": "-66.4,-56.6,-65.6,-55.8",
}


@pytest.mark.parametrize("given", REGIONS.values(), ids=REGIONS)
def test_cells_cover_the_region_and_overlap_only_where_zones_meet(given: str) -> None:
    area = region(given)
    cells = cut_region(area, resolution_m=10)
    assert len({cell.id for cell in cells}) == len(cells) > 1
    whole = geometry_of(area)
    parts = [geometry_of(cell.area) for cell in cells]
    # Outlines stay 0.2 m inside their cells, which is 2e-5 degrees of longitude at 79 degrees north.
    missing = whole.difference(shapely.unary_union(parts).buffer(3e-5))
    assert missing.is_empty
    assert all(part.difference(whole.buffer(1e-8)).is_empty for part in parts)
    by_zone = {}
    for cell, part in zip(cells, parts, strict=True):
        by_zone.setdefault(cell.crs, []).append(part)
    for zone_parts in by_zone.values():
        assert sum(part.area for part in zone_parts) == pytest.approx(shapely.unary_union(zone_parts).area, rel=1e-9)
    overlap_deg2 = sum(part.area for part in parts) - shapely.unary_union(parts).area
    south, north = whole.bounds[1], whole.bounds[3]
    assert overlap_deg2 <= len(by_zone) * 2 * OVERLAP_DEG * max(4.0, north - south)


@pytest.mark.parametrize("given", REGIONS.values(), ids=REGIONS)
def test_a_cells_grid_lies_in_the_square_that_its_name_says(given: str) -> None:
    for cell in cut_region(region(given), resolution_m=10):
        grid = grid_of(cell)
        left, bottom, right, top = grid.bounds_m(grid.window)
        west, south = corner_m(cell)
        assert west <= left < right <= west + CELL_M
        assert south <= bottom < top <= south + CELL_M


def test_a_cell_inside_the_region_has_every_pixel_of_its_square() -> None:
    cells = {cell.id: cell for cell in cut_region(region("11.9,79.0,25.0,80.8"), resolution_m=1000)}
    full = [
        cell
        for cell in cells.values()
        if grid_for(geometry_of(cell.area), resolution_m=1000, crs=cell.crs).shape == (100, 100)
    ]
    assert full, "this far north edges bend most"
    for cell in full:
        grid = Grid(
            crs=cell.crs,
            left_m=corner_m(cell)[0],
            top_m=corner_m(cell)[1] + CELL_M,
            resolution_m=10,
            height=10_000,
            width=10_000,
        )
        area = project_area(geometry_of(cell.area), cell.crs)
        for row, col, height, width in (
            (0, 0, 40, 10_000),
            (9_960, 0, 40, 10_000),
            (0, 0, 10_000, 40),
            (0, 9_960, 10_000, 40),
        ):
            assert not outside_area(area, grid, Window(row=row, col=col, height=height, width=width)).any()


def test_every_pixel_of_a_zone_belongs_to_one_cell() -> None:
    """Counted on pixels along the edges of four cells that meet."""
    cells = cut_region(region("14.2,49.5,16.3,51.1"), resolution_m=10)
    counts = Counter()
    corner = Grid(crs="EPSG:32633", left_m=499_500, top_m=5_600_300, resolution_m=10, height=60, width=100)
    held = np.zeros(corner.shape, int)
    for cell in cells:
        if cell.crs == corner.crs:
            inside = ~outside_area(project_area(geometry_of(cell.area), cell.crs), corner, corner.window)
            counts[cell.id] = int(inside.sum())
            held += inside
    assert (held == 1).all()
    assert {name: count for name, count in counts.items() if count} == {
        "33N-0400-5500": 50 * 30,
        "33N-0400-5600": 50 * 30,
        "33N-0500-5500": 50 * 30,
        "33N-0500-5600": 50 * 30,
    }


def test_a_cell_is_the_same_whatever_region_it_is_of() -> None:
    def full(given: str) -> dict[str, Area]:
        return {cell.id: cell.area for cell in cut_region(region(given), resolution_m=10)}

    small, large = full("13.3,49.3,15.1,51.2"), full("12.5,48.5,16.9,52.4")
    name = "33N-0400-5500"
    assert small[name] == large[name]
    assert set(small) <= set(large)


def test_zones_are_those_of_the_satellites_grid() -> None:
    """Second source: the UTM zones of pyproj's area of use, and MGRS's exceptions by their text."""
    zones = {
        "12.5,49.1,12.6,49.2": {"33N"},
        "11.9,49.1,12.1,49.2": {"32N", "33N"},
        "4.0,60.0,4.1,60.1": {"32N"},
        "4.0,55.0,4.1,55.1": {"31N"},
        "2.0,60.0,2.1,60.1": {"31N"},
        "10.0,75.0,10.1,75.1": {"33N"},
        "8.0,75.0,8.1,75.1": {"31N"},
        "30.0,75.0,30.1,75.1": {"35N"},
        "41.0,75.0,41.1,75.1": {"37N"},
        "41.0,70.0,41.1,70.1": {"37N"},
        "31.0,70.0,31.1,70.1": {"36N"},
        "31.0,-10.1,31.1,-10.0": {"36S"},
        "10,85,11,85.2": {"UPSN"},
        "10,-85.2,11,-85": {"UPSS"},
        "179.9,10,-179.9,10.1": {"60N", "01N"},
    }
    found = {given: {cell.id.split("-")[0] for cell in cut_region(region(given), resolution_m=10)} for given in zones}
    assert found == zones


def test_the_areas_add_up_on_the_ellipsoid() -> None:
    geod, area = Geod(ellps="WGS84"), region("13.1,48.1,16.9,51.2")  # inside one zone

    def km2(geometry: MultiPolygon) -> float:
        return abs(geod.geometry_area_perimeter(geometry.segmentize(0.01))[0]) / 1e6

    total = sum(km2(geometry_of(cell.area)) for cell in cut_region(area, resolution_m=10))
    assert total == pytest.approx(km2(geometry_of(area)), rel=1e-5)


def test_cells_without_a_pixel_centre_are_left_out() -> None:
    """A region that reaches 4 m into the next cell holds no centre there, and 6 m do."""
    to_lonlat = Transformer.from_crs("EPSG:32633", "EPSG:4326", always_xy=True)

    def reaching(metres: float) -> set[str]:
        x = np.array([480_000, 500_000 + metres, 500_000 + metres, 480_000.0])
        lon, lat = to_lonlat.transform(x, np.array([5_520_000, 5_520_000, 5_540_000, 5_540_000.0]))
        area = area_of(MultiPolygon([shapely.Polygon(zip(lon, lat, strict=True))]))
        return {cell.id for cell in cut_region(area, resolution_m=10)}

    assert reaching(4.0) == {"33N-0400-5500"}
    assert reaching(6.0) == {"33N-0400-5500", "33N-0500-5500"}


def test_a_crs_of_ones_own_is_cut_on_the_same_kind_of_grid() -> None:
    cells = cut_region(region("8.6,51.5,11.6,52.6"), resolution_m=10, crs="EPSG:3035")
    assert {cell.crs for cell in cells} == {"EPSG:3035"}
    assert all(cell.id.startswith("EPSG3035-") for cell in cells)
    assert "EPSG3035-4300-3200" in {cell.id for cell in cells}


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One scene of each sensor around the corner of two cells at x = 500 km, of noise: every pixel is its own."""
    folder, random = tmp_path_factory.mktemp("scenes"), np.random.default_rng(4)
    place = {"left_m": 498_800.0, "top_m": 5_551_000.0}
    shape = (220, 260)
    to_lonlat = Transformer.from_crs("EPSG:32633", "EPSG:4326", always_xy=True)
    lon, lat = to_lonlat.transform(
        [498_800.0, 501_400.0, 501_400.0, 498_800.0], [5_548_800.0, 5_548_800.0, 5_551_000.0, 5_551_000.0]
    )
    footprint = shapely.Polygon(zip(lon, lat, strict=True))
    optical = {
        band: write_raster(folder / f"{band}.tif", random.integers(1, 6000, shape).astype(np.uint16), nodata=0, **place)
        for band in ("B02", "B03", "B04", "B08")
    }
    radar = {
        band: write_raster(folder / f"{band}.tif", random.gamma(4, 0.02, shape).astype(np.float32), nodata=-1, **place)
        for band in ("vv", "vh")
    }
    items = [s2_item(footprint=footprint, s2__processing_baseline="02.14"), s1_item(footprint=footprint)]
    for item, paths in zip(items, (optical, radar), strict=True):
        item["assets"] = {band: {"href": str(path)} for band, path in paths.items()}
    path = folder / "items.json"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": items}))
    return path


def test_two_cells_side_by_side_are_one_big_job_to_the_bit(scenes: Path, tmp_path: Path) -> None:
    """A convolutional model with random weights shows every seam; the big job starts elsewhere and cuts blocks elsewhere."""
    write_blur_bundle(tmp_path / "blur")
    to_lonlat = Transformer.from_crs("EPSG:32633", "EPSG:4326", always_xy=True)
    x, y = [499_203.0, 500_884.0, 500_884.0, 499_203.0], [5_549_306.0, 5_549_306.0, 5_550_497.0, 5_550_497.0]
    lon, lat = to_lonlat.transform(x, y)
    area = area_of(MultiPolygon([shapely.Polygon(zip(lon, lat, strict=True))]))
    cells = cut_region(area, resolution_m=10)
    assert [cell.id for cell in cells] == ["33N-0400-5500", "33N-0500-5500"]

    def mapped(one: Area, name: str, block_px: int) -> Path:
        request = MapRequest(
            area=one,
            start=datetime(2023, 6, 1, tzinfo=UTC),
            end=datetime(2023, 7, 1, tzinfo=UTC),
            source=str(scenes),
            bundle=str(tmp_path / "blur"),
            options=MapOptions(crs="EPSG:32633", block_px=block_px),
        )
        map_into(request, tmp_path / name)
        return tmp_path / name

    whole = mapped(area, "whole", 512)
    parts = [mapped(cell.area, cell.id, 64) for cell in cells]
    answered = 0
    for name in ("landcover.tif", "variance.tif", "probabilities.tif", "quality.tif"):
        for part in parts:
            with rasterio.open(whole / name) as big, rasterio.open(part / name) as small:
                window = from_bounds(*small.bounds, big.transform)
                expected, found = big.read(window=window.round_offsets().round_lengths()), small.read()
                assert expected.shape == found.shape
                if name == "landcover.tif":
                    answered += int((found != small.nodata).sum())
                tolerance = 1e-5 if found.dtype == np.float32 else 0  # chips differ, and sums of floats with them
                np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance)
    with rasterio.open(whole / "landcover.tif") as big:
        assert answered == int((big.read(1) != big.nodata).sum())
    edges = []
    for part in parts:
        with rasterio.open(part / "landcover.tif") as raster:
            edges += [raster.bounds.left, raster.bounds.right]
    assert edges.count(500_000.0) == 2
    assert (min(edges), max(edges)) == (499_200, 500_890)
