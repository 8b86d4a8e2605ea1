import numpy as np
import pytest
import rasterio.crs
import rasterio.warp
import shapely
from hypothesis import given
from hypothesis import strategies as st
from pyproj import Geod, Transformer
from pyproj.aoi import AreaOfInterest
from pyproj.database import query_utm_crs_info
from rasterio import Affine
from rasterio.features import geometry_mask
from shapely import MultiPolygon, Polygon

from contract.errors import AoiTooWide, CrsUnusable
from contract.grid import Grid, Window
from workers.grid import cut_blocks, cut_chips, grid_for, outside_area, project_area

LONLAT = "OGC:CRS84"


def area(west: float, south: float, east: float, north: float) -> MultiPolygon:
    return MultiPolygon([shapely.box(west, south, east, north)])


def across_antimeridian(west: float, south: float, east: float, north: float) -> MultiPolygon:
    return MultiPolygon([shapely.box(west, south, 180, north), shapely.box(-180, south, east, north)])


def around(lon: float, lat: float) -> MultiPolygon:
    return area(lon - 0.01, lat - 0.01, lon + 0.01, lat + 0.01)


def drawn_in(crs: str, polygon: Polygon) -> MultiPolygon:
    """A polygon drawn in metres, in longitude and latitude."""
    to_lonlat = Transformer.from_crs(crs, LONLAT, always_xy=True)
    return MultiPolygon([shapely.transform(polygon, lambda xy: np.column_stack(to_lonlat.transform(*xy.T)))])


def small_grid(height: int, width: int) -> Grid:
    return Grid(crs="EPSG:32633", left_m=399_960, top_m=5_800_020, resolution_m=10, height=height, width=width)


# --- the CRS of the grid --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lon", "lat", "crs"),
    [
        (13.4, 52.5, "EPSG:32633"),  # Berlin, tile 33UUU
        (-58.4, -34.6, "EPSG:32721"),  # Buenos Aires, tile 21HUB
        (11.98, 50.0, "EPSG:32632"),
        (12.02, 50.0, "EPSG:32633"),
        (5.3, 60.4, "EPSG:32632"),  # Bergen, tile 32VKM and not 31V
        (2.9, 60.4, "EPSG:32631"),
        (5.3, 64.1, "EPSG:32631"),
        (8.9, 78.0, "EPSG:32631"),  # Svalbard: 31X, 33X, 35X and 37X only
        (15.6, 78.2, "EPSG:32633"),
        (20.9, 78.0, "EPSG:32633"),
        (21.1, 78.0, "EPSG:32635"),
        (33.1, 78.0, "EPSG:32637"),
        (42.1, 78.0, "EPSG:32638"),
        (10.0, 83.9, "EPSG:32633"),
        (10.0, 84.1, "EPSG:32661"),
        (10.0, -79.9, "EPSG:32732"),
        (10.0, -80.1, "EPSG:32761"),
    ],
)
def test_zone_is_that_of_the_sentinel2_tiles(lon: float, lat: float, crs: str) -> None:
    assert grid_for(around(lon, lat), resolution_m=10, crs=None).crs == crs


@given(hundredths=st.tuples(st.integers(-17_990, 17_990), st.integers(-7_900, 5_590)))
def test_zone_is_one_that_epsg_has_for_the_centroid(hundredths: tuple[int, int]) -> None:
    lon, lat = (number / 100 + 0.005 for number in hundredths)
    known = query_utm_crs_info("WGS 84", AreaOfInterest(lon, lat, lon, lat))
    assert grid_for(around(lon, lat), resolution_m=10, crs=None).crs in {f"EPSG:{entry.code}" for entry in known}


def test_zone_of_an_area_on_a_seam_is_that_of_its_centroid() -> None:
    assert grid_for(area(11.9, 50, 12.05, 50.1), resolution_m=10, crs=None).crs == "EPSG:32632"
    assert grid_for(area(11.95, 50, 12.1, 50.1), resolution_m=10, crs=None).crs == "EPSG:32633"


def test_zone_of_an_area_cut_at_the_antimeridian_is_on_the_side_of_its_centroid() -> None:
    assert grid_for(across_antimeridian(179, -17, -179.8, -16), resolution_m=10, crs=None).crs == "EPSG:32760"
    assert grid_for(across_antimeridian(179.8, -17, -179, -16), resolution_m=10, crs=None).crs == "EPSG:32701"


@pytest.mark.parametrize(
    ("crs", "reason"),
    [
        ("EPSG:4326", "not projected"),
        ("EPSG:2264", "US survey foot"),
        ("EPSG:5513", "points west"),
        ("EPSG:99999", "unknown"),
        ("33N", "unknown"),
        ("+proj=ortho +lon_0=-160 +type=crs", "outside of what it can project"),
    ],
)
def test_crs_without_a_metric_grid_is_refused(crs: str, reason: str) -> None:
    with pytest.raises(CrsUnusable, match=reason):
        grid_for(around(13.4, 52.5), resolution_m=10, crs=crs)


def test_crs_that_tears_the_area_apart_is_refused() -> None:
    with pytest.raises(CrsUnusable, match="tears"):
        grid_for(across_antimeridian(179.9, 0, -179.9, 0.1), resolution_m=10, crs="EPSG:3857")


def test_crs_without_a_code_is_kept_as_wkt() -> None:
    grid = grid_for(around(13.4, 52.5), resolution_m=10, crs="+proj=laea +lat_0=52.5 +lon_0=13.4 +type=crs")
    assert rasterio.crs.CRS.from_string(grid.crs).to_dict()["lat_0"] == 52.5


# --- extent ---------------------------------------------------------------------------------------------------------


def test_grid_of_an_area_drawn_on_the_pixel_lattice_has_no_pixel_more() -> None:
    drawn = drawn_in("EPSG:32633", shapely.box(500_000, 5_600_000, 500_300, 5_600_200))
    grid = grid_for(drawn, resolution_m=10, crs=None)
    assert (grid.left_m, grid.top_m, grid.shape) == (500_000, 5_600_200, (20, 30))


def test_grid_is_snapped_outward_to_the_lattice() -> None:
    drawn = drawn_in("EPSG:32633", shapely.box(500_001, 5_600_019, 500_021, 5_600_041))
    grid = grid_for(drawn, resolution_m=20, crs=None)
    assert (grid.left_m, grid.top_m, grid.shape) == (500_000, 5_600_060, (3, 2))


def test_grid_of_an_area_across_the_equator_goes_on_into_negative_northings() -> None:
    grid = grid_for(area(14.99, -0.02, 15.01, 0.05), resolution_m=10, crs=None)
    bottom = grid.bounds_m(grid.window)[1]
    # Northing of a latitude on the central meridian: 0.9996 * 110574.3 m per degree at the equator.
    assert grid.crs == "EPSG:32633"
    assert bottom == pytest.approx(-0.02 * 0.9996 * 110_574.3, abs=10)
    assert grid.top_m == pytest.approx(0.05 * 0.9996 * 110_574.3, abs=10)


def far_apart(degrees: float) -> MultiPolygon:
    """Two small fields on the equator, the same way to either side of a central meridian."""
    return MultiPolygon([shapely.box(lon, 0, lon + 0.01, 0.01) for lon in (15 - degrees / 2, 14.99 + degrees / 2)])


def test_far_apart_places_are_refused_with_what_they_span() -> None:
    fields = MultiPolygon([shapely.box(-8.0, 39.0, -7.99, 39.01), shapely.box(29.0, 62.0, 29.01, 62.01)])
    crs = "EPSG:32632"  # of the centroid, 10.5 degrees east
    left, bottom, _, _ = rasterio.warp.transform_bounds(LONLAT, crs, *fields.geoms[0].bounds)
    _, _, east, north = rasterio.warp.transform_bounds(LONLAT, crs, *fields.geoms[1].bounds)
    with pytest.raises(AoiTooWide, match="one by one, or give a CRS") as refused:
        grid_for(fields, resolution_m=10, crs=None)
    assert refused.value.width_km == pytest.approx((east - left) / 1000, abs=5)
    assert refused.value.height_km == pytest.approx((north - bottom) / 1000, abs=5)


def test_a_zone_carries_a_thousand_kilometres() -> None:
    # One degree of the equator is 111.32 km, and at most 0.3 % more in the zone.
    assert grid_for(far_apart(8.9), resolution_m=10, crs=None).width < 100_000
    with pytest.raises(AoiTooWide):
        grid_for(far_apart(9.1), resolution_m=10, crs=None)


def test_a_crs_that_is_asked_for_carries_far_apart_places() -> None:
    fields = MultiPolygon([shapely.box(-8.0, 39.0, -7.99, 39.01), shapely.box(29.0, 62.0, 29.01, 62.01)])
    assert grid_for(fields, resolution_m=10, crs="EPSG:3035").width > 200_000


@pytest.mark.parametrize(("south", "crs"), [(85, "EPSG:32661"), (-86, "EPSG:32761")])
def test_columns_of_a_polar_grid_are_eastings(south: float, crs: str) -> None:
    # On the 90 degrees east meridian, both poles lie due "west" of the area, in grid terms, at (2000 km, 2000 km).
    grid = grid_for(area(89, south, 91, south + 1), resolution_m=10, crs=None)
    left, bottom, right, top = rasterio.warp.transform_bounds("EPSG:4326", crs, 89, south, 91, south + 1)
    assert grid.crs == crs
    assert grid.bounds_m(grid.window) == pytest.approx((left, bottom, right, top), abs=20)
    assert left > 2_400_000
    assert bottom < 2_000_000 < top


# --- projecting -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("corners", "crs"),
    [
        (((10.0, 60.0), (16.0, 60.0), (16.0, 61.0), (10.0, 61.0)), "EPSG:32633"),
        (((12.0, 45.0), (17.9, 47.0), (13.0, 49.5)), "EPSG:32633"),
        (((30.0, -84.0), (70.0, -84.5), (50.0, -83.0)), "EPSG:32761"),
    ],
)
def test_long_edges_keep_their_course_in_longitude_and_latitude(
    corners: tuple[tuple[float, float], ...], crs: str
) -> None:
    polygon = Polygon(corners)
    projected = project_area(MultiPolygon([polygon]), crs)
    along = polygon.exterior.interpolate(np.linspace(0, 1, 20_011), normalized=True)
    x, y = rasterio.warp.transform("EPSG:4326", crs, [point.x for point in along], [point.y for point in along])
    assert shapely.distance(projected.boundary, shapely.points(x, y)).max() < 0.1


@pytest.mark.parametrize("crs", ["EPSG:32601", "EPSG:32660"])
def test_halves_at_the_antimeridian_become_one_shape(crs: str) -> None:
    projected = project_area(across_antimeridian(179, 10, -179, 11), crs)
    area_m2, _ = Geod(ellps="WGS84").geometry_area_perimeter(shapely.segmentize(shapely.box(179, 10, 181, 11), 0.01))
    assert projected.geom_type == "Polygon"
    assert len(projected.interiors) == 0
    assert projected.area == pytest.approx(abs(area_m2), rel=3e-3)  # UTM scale is within 0.9996..1.001 here, squared


def test_cap_over_the_pole_becomes_one_disc() -> None:
    projected = project_area(area(-180, 89, 180, 90), "EPSG:32661")
    radius = abs(rasterio.warp.transform("EPSG:4326", "EPSG:32661", [0], [89])[1][0] - 2_000_000)
    assert projected.geom_type == "Polygon"
    assert len(projected.interiors) == 0
    assert projected.area == pytest.approx(np.pi * radius**2, rel=1e-6)


# --- pixels of the area ---------------------------------------------------------------------------------------------

GRID = small_grid(41, 67)
HOLED = Polygon(
    [(400_003, 5_799_701), (400_541, 5_799_633), (400_607, 5_800_003), (400_211, 5_799_899), (399_977, 5_800_011)],
    [[(400_301, 5_799_733), (400_403, 5_799_751), (400_333, 5_799_839)]],
)
ON_CENTRES = Polygon([(399_985, 5_799_705), (400_585, 5_799_905), (400_285, 5_800_005), (399_965, 5_799_905)])
"""Corners on pixel centres and slopes of 1:3, so that edges run through many more centres."""

windows = st.builds(
    Window, row=st.integers(-20, 50), col=st.integers(-20, 80), height=st.integers(1, 60), width=st.integers(1, 60)
)


def mask_of(polygon: Polygon, grid: Grid) -> np.ndarray:
    transform = Affine(grid.resolution_m, 0, grid.left_m, 0, -grid.resolution_m, grid.top_m)
    return geometry_mask([polygon], grid.shape, transform)


def test_outside_is_what_rasterio_says_of_pixel_centres() -> None:
    expected = mask_of(HOLED, GRID)
    assert 0.2 < expected.mean() < 0.8
    np.testing.assert_array_equal(outside_area(HOLED, GRID, GRID.window), expected)


def test_centre_on_the_edge_is_inside() -> None:
    pixel = Polygon([(399_965, 5_800_015), (399_985, 5_800_015), (399_985, 5_799_995), (399_965, 5_799_995)])
    outside = outside_area(pixel, GRID, Window(row=0, col=0, height=4, width=5))
    np.testing.assert_array_equal(outside, ~np.pad(np.ones((3, 3), np.bool_), ((0, 1), (0, 2))))


@pytest.mark.parametrize("polygon", [HOLED, ON_CENTRES])
@given(window=windows)
def test_pixel_is_in_or_out_whatever_the_window(polygon: Polygon, window: Window) -> None:
    around_all = Window(row=-80, col=-80, height=240, width=300)
    expected = outside_area(polygon, GRID, around_all)[window.slices_in(around_all)]
    np.testing.assert_array_equal(outside_area(polygon, GRID, window), expected)


@given(window=windows)
def test_pixel_with_its_centre_on_an_edge_is_in_or_out_by_an_exact_predicate(window: Window) -> None:
    centres = [
        (GRID.left_m + (col + 0.5) * 10, GRID.top_m - (row + 0.5) * 10)
        for row in range(window.row, window.stop_row)
        for col in range(window.col, window.stop_col)
    ]
    expected = [not ON_CENTRES.intersects(shapely.Point(centre)) for centre in centres]
    assert outside_area(ON_CENTRES, GRID, window).ravel().tolist() == expected


# --- blocks ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block_px", [5, 8, 64, 100])
@pytest.mark.parametrize(
    "polygon", [HOLED, HOLED.boundary.buffer(3), shapely.box(400_000, 5_799_800, 400_100, 5_799_900)]
)
def test_blocks_are_those_with_a_pixel_of_the_area(polygon: Polygon, block_px: int) -> None:
    inside = ~mask_of(polygon, GRID)
    expected = [
        (row, col, *part.shape)
        for row in range(0, GRID.height, block_px)
        for col in range(0, GRID.width, block_px)
        if (part := inside[row : row + block_px, col : col + block_px]).any()
    ]
    blocks = cut_blocks(GRID, block_px, polygon)
    assert [(block.row, block.col, *block.shape) for block in blocks] == expected


def test_area_between_pixel_centres_has_no_block() -> None:
    assert cut_blocks(GRID, 8, shapely.box(400_006, 5_799_706, 400_014, 5_799_714)) == ()


# --- chips ----------------------------------------------------------------------------------------------------------


@st.composite
def cuts(draw: st.DrawFn) -> tuple[Window, Grid, dict[str, int]]:
    alignment = draw(st.integers(1, 16))
    halo = draw(st.integers(0, 20))
    chip = 2 * halo + alignment + draw(st.integers(0, 60))
    block = Window(
        row=draw(st.integers(0, 300)),
        col=draw(st.integers(0, 300)),
        height=draw(st.integers(1, 150)),
        width=draw(st.integers(1, 150)),
    )
    left, top = draw(st.integers(-100_000, 100_000)), draw(st.integers(-1_000_000, 1_000_000))
    grid = Grid(crs="EPSG:32633", left_m=left * 10, top_m=top * 10, resolution_m=10, height=450, width=450)
    return block, grid, {"chip_px": chip, "halo_px": halo, "alignment_px": alignment}


@given(cut=cuts())
def test_every_pixel_of_a_block_is_kept_exactly_once(cut: tuple[Window, Grid, dict[str, int]]) -> None:
    block, grid, sizes = cut
    around_block = block.grown(5)
    times = np.zeros(around_block.shape, np.int64)
    for chip in cut_chips(block, grid, **sizes):
        times[chip.keep.slices_in(around_block)] += 1
        assert chip.keep.intersection(block) == chip.keep
    np.testing.assert_array_equal(times, np.pad(np.ones(block.shape, np.int64), 5))


@given(cut=cuts())
def test_every_kept_pixel_has_its_halo(cut: tuple[Window, Grid, dict[str, int]]) -> None:
    block, grid, sizes = cut
    for chip in cut_chips(block, grid, **sizes):
        assert chip.read.shape == (sizes["chip_px"], sizes["chip_px"])
        needed = chip.keep.grown(sizes["halo_px"])
        assert needed.intersection(chip.read) == needed


@given(cut=cuts())
def test_chips_start_on_the_alignment_in_metres_of_the_crs(cut: tuple[Window, Grid, dict[str, int]]) -> None:
    block, grid, sizes = cut
    stride_m = sizes["alignment_px"] * 10
    for chip in cut_chips(block, grid, **sizes):
        left, _, _, top = grid.bounds_m(chip.read)
        assert (left % stride_m, top % stride_m) == (0, 0)


def test_block_of_whole_chips_needs_no_more_of_them() -> None:
    grid = Grid(crs="EPSG:32633", left_m=0, top_m=0, resolution_m=10, height=512, width=768)
    chips = list(cut_chips(grid.window, grid, chip_px=320, halo_px=32, alignment_px=32))
    assert [(chip.keep.row, chip.keep.col) for chip in chips] == [(r, c) for r in (0, 256) for c in (0, 256, 512)]
    assert {(chip.read.row - chip.keep.row, chip.read.col - chip.keep.col) for chip in chips} == {(-32, -32)}
