import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import pytest
import rasterio.warp
import shapely
from pyproj import Geod
from shapely import MultiPolygon, Polygon

from contract.errors import AoiAxesSwapped, AoiEmpty, AoiInvalid, AoiTooLarge, AoiUnreadable, AoiWrongCrs
from workers.aoi import Aoi, geometry_of, read_aoi

SQUARE = shapely.box(13, 52, 14, 53)
WITH_HOLE = Polygon([(13, 52), (14, 52), (14, 53), (13, 53)], [[(13.2, 52.2), (13.2, 52.4), (13.4, 52.4)]])
FAR = shapely.box(20, 40, 21, 41)
ACROSS = MultiPolygon([shapely.box(179, 1, 180, 2), shapely.box(-180, 1, -179, 2)])


def read(given: str) -> Aoi:
    return read_aoi(given, max_area_km2=1e9)


def geojson(*rings: list[tuple[float, ...]], **members: Any) -> str:
    return json.dumps({"type": "Polygon", "coordinates": rings, **members})


def feature(geometry: shapely.Geometry | None) -> dict[str, Any]:
    return {
        "type": "Feature",
        "properties": {"name": "field"},
        "geometry": None if geometry is None else json.loads(shapely.to_geojson(geometry)),
    }


def collection(*geometries: shapely.Geometry | None) -> str:
    return json.dumps({"type": "FeatureCollection", "features": [feature(geometry) for geometry in geometries]})


def write(path: Path, *geometries: Polygon, crs: str | None, layer: str | None = None, append: bool = False) -> str:
    encoded = np.array([shapely.to_wkb(geometry) for geometry in geometries], dtype=object)
    pyogrio.raw.write(
        path, encoded, field_data=[], fields=[], geometry_type="Polygon", crs=crs, layer=layer, append=append
    )
    return str(path)


def projected(geometry: Polygon, crs: str) -> Polygon:
    return shapely.geometry.shape(rasterio.warp.transform_geom("EPSG:4326", crs, geometry))


# --- what is read ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("13,52,14,53", SQUARE),
        (" 13, 52, 14, 53 \n", SQUARE),
        (shapely.to_geojson(WITH_HOLE), WITH_HOLE),
        (json.dumps(feature(WITH_HOLE)), WITH_HOLE),
        (collection(WITH_HOLE, None, FAR), WITH_HOLE.union(FAR)),
        (collection(SQUARE, shapely.box(13.5, 52, 15, 53)), shapely.box(13, 52, 15, 53)),
        (shapely.to_geojson(shapely.GeometryCollection([SQUARE, FAR])), SQUARE.union(FAR)),
        (shapely.to_geojson(MultiPolygon([SQUARE, FAR])), SQUARE.union(FAR)),
        (WITH_HOLE.wkt, WITH_HOLE),
        (f"SRID=4326;{WITH_HOLE.wkt}", WITH_HOLE),
        (MultiPolygon([SQUARE, FAR]).wkt.lower(), SQUARE.union(FAR)),
        ("POLYGON Z ((13 52 9, 14 52 9, 14 53 7, 13 53 9, 13 52 9))", SQUARE),
        (geojson([(13, 52, 9.5), (14, 52, 9.5), (14, 53, 9.5), (13, 53, 9.5), (13, 52, 9.5)]), SQUARE),
    ],
)
def test_text_is_read(given: str, expected: Polygon) -> None:
    aoi = read(given)
    assert aoi.geometry.equals(expected)
    assert not aoi.geometry.has_z
    assert aoi.notices == ()


@pytest.mark.parametrize("text", [SQUARE.wkt, shapely.to_geojson(SQUARE), "\ufeff" + shapely.to_geojson(SQUARE)])
def test_text_file_is_read(tmp_path: Path, text: str) -> None:
    path = tmp_path / "polygon (1).json"
    path.write_text(text, encoding="utf-8")
    assert read(str(path)).geometry.equals(SQUARE)


def test_standard_input_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{shapely.to_geojson(SQUARE)}\n"))
    assert read("-").geometry.equals(SQUARE)


@pytest.mark.parametrize("suffix", [".gpkg", ".shp", ".fgb"])
def test_vector_file_is_read(tmp_path: Path, suffix: str) -> None:
    aoi = read(write(tmp_path / f"area{suffix}", WITH_HOLE, FAR, crs="EPSG:4326"))
    assert aoi.geometry.equals(WITH_HOLE.union(FAR))
    assert aoi.notices == ()


def test_geopackage_of_several_layers_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "area.gpkg"
    write(path, SQUARE, crs="EPSG:4326", layer="fields")
    given = write(path, FAR, crs="EPSG:4326", layer="roads", append=True)
    with pytest.raises(AoiUnreadable, match=r"2 layers with geometry \(fields, roads\)"):
        read(given)


def test_polygons_are_kept_and_what_lies_beside_them_is_named() -> None:
    aoi = read(collection(SQUARE, shapely.Point(1, 2), shapely.LineString([(0, 0), (1, 1)])))
    assert aoi.geometry.equals(SQUARE)
    assert aoi.notices == ("LineString, Point beside the polygons is left out",)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("", "neither a file nor text"),
        ("no/such/file.geojson", "neither a file nor text"),
        ("no/such/file.gpkg", "neither a file nor text"),
        ("x" * 5000, "File name too long"),
        ("{", "line 1 column 2"),
        ("{}", "no GeoJSON object"),
        ('{"type": "Topology"}', "no GeoJSON object"),
        ("13,52,14", "4 numbers"),
        ("13,53,14,52", "south 53 is above its north 52"),
        ("13,nan,14,53", "not finite"),
        ("POLYGON ((13 52, 14 52, 14", "ParseException"),
        ("POLYGON ((nan 52, 14 52, 14 53, nan 52))", "not a finite number"),
        ("POLYGON ((13 52, 1e999 52, 14 53, 13 52))", "not a finite number"),
        (geojson([(float("nan"), 52), (14, 52), (14, 53), (13, 52)]), "NaN is no number"),
        ('{"type": "Polygon", "coordinates": [[["13", "52"], [14, 52], [14, 53], ["13", "52"]]]}', "must be number"),
        ('{"type": "Polygon", "coordinates": [[13, 52], [14, 52], [14, 53], [13, 52]]}', "must be array"),
        ("POINT (13 52)", "holds Point and no polygon"),
        ("GEOMETRYCOLLECTION (LINESTRING (13 52, 14 53))", "holds LineString and no polygon"),
    ],
)
def test_what_is_no_area_is_refused_with_the_reason(given: str, reason: str) -> None:
    with pytest.raises(AoiUnreadable, match=reason) as caught:
        read(given)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("name", ["area.gpkg", "area.fgb", "area.geojson"])
def test_damaged_file_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"\xff\x00\xfe")
    with pytest.raises(AoiUnreadable):
        read(str(tmp_path / name))


@pytest.mark.parametrize(
    "given",
    [
        "POLYGON EMPTY",
        collection(),
        collection(None),
        "13,52,13,53",
        geojson([(13, 52), (14, 53), (15, 54), (13, 52)]),
        "13,52,13.000001,52.000001",
    ],
)
def test_less_than_a_square_metre_is_refused(given: str) -> None:
    with pytest.raises(AoiEmpty):
        read(given)


# --- repairs --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given", ["POLYGON ((13 52, 14 52, 14 53, 13 53))", geojson([(13, 52), (14, 52), (14, 53), (13, 53)])]
)
def test_unclosed_ring_is_closed_with_a_notice(given: str) -> None:
    aoi = read(given)
    assert aoi.geometry.equals(SQUARE)
    assert aoi.notices == ("unclosed rings are closed",)


def test_bow_tie_becomes_its_two_triangles_with_a_notice_of_the_crossing() -> None:
    aoi = read(geojson([(0, 0), (2, 2), (2, 0), (0, 2), (0, 0)]))
    assert aoi.geometry.equals(MultiPolygon([Polygon([(0, 0), (1, 1), (0, 2)]), Polygon([(2, 0), (2, 2), (1, 1)])]))
    assert aoi.notices == (
        "1 of 1 polygons were invalid and are repaired; the first: Self-intersection near lon 1.000000, lat 1.000000",
    )


def test_spike_is_cut_off() -> None:
    aoi = read(geojson([(13, 52), (14, 52), (14, 53), (14, 60), (14, 53), (13, 53), (13, 52)]))
    assert aoi.geometry.equals(SQUARE)
    assert aoi.geometry.bounds == SQUARE.bounds
    assert "near lon 14" in aoi.notices[0]


def test_geometry_is_valid_and_its_shells_run_counterclockwise() -> None:
    aoi = read(Polygon(WITH_HOLE.exterior.coords[::-1], [WITH_HOLE.interiors[0].coords[::-1]]).wkt)
    (part,) = aoi.geometry.geoms
    assert aoi.geometry.is_valid
    assert part.exterior.is_ccw
    assert not part.interiors[0].is_ccw


# --- coordinates ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", ["POLYGON ((52 113, 53 113, 53 114, 52 113))", "-33.9,151.1,-33.8,151.3"])
def test_latitude_first_is_refused(given: str) -> None:
    with pytest.raises(AoiAxesSwapped):
        read(given)


@pytest.mark.parametrize(
    "given",
    [
        "400000,5800000,410000,5810000",
        "SRID=99999;POLYGON ((0 0, 1 0, 1 1, 0 0))",
        "SRID=32633;POLYGON ((5e8 0, 6e8 0, 6e8 10, 5e8 0))",
        "SRID=3857;POLYGON ((1e13 0, 2e13 0, 2e13 10, 1e13 0))",
        geojson([(0, 0), (1, 0), (1, 1), (0, 0)], crs={"type": "link", "properties": {"href": "crs.prj"}}),
        geojson([(0, 0), (1, 0), (1, 1), (0, 0)], crs={"type": "name", "properties": {"name": "my grid"}}),
    ],
)
def test_coordinates_without_a_readable_crs_are_refused(given: str) -> None:
    with pytest.raises(AoiWrongCrs):
        read(given)


@pytest.mark.parametrize("suffix", [".gpkg", ".shp", ".fgb"])
@pytest.mark.parametrize("crs", ["EPSG:32633", "EPSG:3035", "EPSG:2264"])
def test_vector_file_is_reprojected(tmp_path: Path, suffix: str, crs: str) -> None:
    place = Polygon([(-80, 35), (-79.9, 35), (-79.9, 35.1)]) if crs == "EPSG:2264" else shapely.box(13, 52, 13.1, 52.1)
    aoi = read(write(tmp_path / f"area{suffix}", projected(place, crs), crs=crs))
    assert aoi.geometry.hausdorff_distance(place) < 2e-4  # degrees: edges straight in metres bend between the corners
    assert aoi.notices[0].startswith("reprojected from ")


def test_geographic_crs_of_another_datum_is_reprojected() -> None:
    # ED50 lies some 90 m east and 200 m north of WGS 84 in central Europe (EPSG transformation 1133).
    aoi = read("SRID=4230;POLYGON ((10 50, 10.1 50, 10.1 50.1, 10 50))")
    west, south, *_ = aoi.geometry.bounds
    assert 0.0005 < 10 - west < 0.0025
    assert 0.0003 < 50 - south < 0.0025


def test_legacy_crs_member_of_geojson_is_followed() -> None:
    rings = [list(projected(SQUARE, "EPSG:32633").exterior.coords)]
    member = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32633"}}
    assert read(geojson(*rings, crs=member)).geometry.hausdorff_distance(SQUARE) < 0.01


def test_edges_straight_in_metres_stay_straight_in_metres() -> None:
    corners = [(300_000, 6_600_000), (700_000, 6_600_000), (700_000, 6_700_000), (300_000, 6_700_000)]
    aoi = read(f"SRID=32633;{Polygon(corners).wkt}")
    back = projected(aoi.geometry.geoms[0], "EPSG:32633")
    assert back.hausdorff_distance(Polygon(corners)) < 0.1


def test_shapefile_without_prj_is_taken_for_degrees_with_a_notice(tmp_path: Path) -> None:
    given = write(tmp_path / "area.shp", SQUARE, crs="EPSG:4326")
    (tmp_path / "area.prj").unlink()
    aoi = read(given)
    assert aoi.geometry.equals(SQUARE)
    assert "names no CRS" in aoi.notices[0]


# --- antimeridian and poles -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given",
    [
        "179,1,-179,2",
        "179,1,181,2",
        "-181,1,-179,2",
        geojson([(179, 1), (181, 1), (181, 2), (179, 2), (179, 1)]),
        geojson([(179, 1), (-179, 1), (-179, 2), (179, 2), (179, 1)]),
        geojson([(-179, 2), (179, 2), (179, 1), (-179, 1), (-179, 2)]),
        geojson([(179, 1), (180, 1), (-180, 1), (-179, 1), (-179, 2), (-180, 2), (180, 2), (179, 2), (179, 1)]),
    ],
)
def test_area_across_the_antimeridian_is_cut_there_with_a_notice(given: str) -> None:
    aoi = read(given)
    assert len(aoi.geometry.geoms) == 2
    assert aoi.geometry.equals(ACROSS)
    assert aoi.notices == ("the area is taken to cross the antimeridian, and is cut there",)


def test_area_that_is_cut_already_stays_as_it_is() -> None:
    aoi = read(shapely.to_geojson(ACROSS))
    assert aoi.geometry.equals(ACROSS)
    assert aoi.notices == ()


def test_hole_on_the_far_side_of_the_antimeridian_stays_a_hole() -> None:
    hole = [(-179.8, 1.2), (-179.6, 1.2), (-179.6, 1.4), (-179.8, 1.2)]
    aoi = read(geojson([(179, 1), (-179, 1), (-179, 2), (179, 2), (179, 1)], hole))
    assert aoi.geometry.equals(ACROSS.difference(Polygon(hole)))


def test_longitudes_of_0_to_360_are_turned() -> None:
    aoi = read("350,1,355,2")
    assert aoi.geometry.equals(shapely.box(-10, 1, -5, 2))
    assert aoi.notices == ("longitudes outside -180..180 degrees are turned by 360 degrees",)


@pytest.mark.parametrize("given", ["-170,1,170,2", "10,1,9,2", "-180,-90,180,90"])
def test_bbox_wider_than_half_the_earth_is_taken_at_its_word(given: str) -> None:
    west, south, east, north = (float(number) for number in given.split(","))
    strip = shapely.box(west, south, east + 360 * (west > east), north)
    assert read(given).geometry.area == pytest.approx(strip.area)


@pytest.mark.parametrize(
    "ring",
    [
        [(-180, 60), (180, 60), (180, 90), (-180, 90), (-180, 60)],
        [(-180, 60), (0, 60), (180, 60), (180, 90), (-180, 90), (-180, 60)],
        [(-180, -5), (180, -5), (180, 5), (-180, 5), (-180, -5)],
    ],
)
def test_belt_round_the_earth_stays_a_belt(ring: list[tuple[float, float]]) -> None:
    aoi = read(geojson(ring))
    assert aoi.geometry.equals(Polygon(ring))
    assert "repaired" not in " ".join(aoi.notices)


@pytest.mark.parametrize("lat", [80, -80])
@pytest.mark.parametrize("lons", [(0, 90, 180, -90, 0), (0, -90, 180, 90, 0)])
def test_ring_round_a_pole_encloses_it(lat: float, lons: tuple[float, ...]) -> None:
    aoi = read(geojson([(lon, lat) for lon in lons]))
    assert aoi.geometry.equals(shapely.box(-180, min(lat, 90 * np.sign(lat)), 180, max(lat, 90 * np.sign(lat))))
    assert "the area is taken to enclose or touch a pole" in aoi.notices


def test_square_drawn_round_the_pole_keeps_its_area() -> None:
    aoi = read("SRID=3571;POLYGON ((-1e5 -1e5, 1e5 -1e5, 1e5 1e5, -1e5 1e5, -1e5 -1e5))")  # an equal-area CRS
    assert aoi.area_km2 == pytest.approx(40_000, rel=1e-3)


def test_ring_round_the_earth_across_the_equator_is_refused_with_its_place() -> None:
    with pytest.raises(AoiInvalid, match=r"lon 0\.0+, lat -5\.0+"):
        read(geojson([(0, -5), (120, 5), (-120, 5), (0, -5)]))


# --- area and record ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", ["13,52,14,53", "179,1,-179,2", WITH_HOLE.wkt, "10,-60,30,60"])
def test_area_is_that_of_the_ellipsoid(given: str) -> None:
    aoi = read(given)
    dense = shapely.orient_polygons(shapely.segmentize(aoi.geometry, 0.01))
    area_m2, _ = Geod(ellps="WGS84").geometry_area_perimeter(dense)
    assert aoi.area_km2 == pytest.approx(area_m2 / 1e6, rel=1e-6)


def test_area_above_the_limit_is_refused_with_both_figures() -> None:
    # A cell of one degree at latitude 52..53 covers some 7,545 km2.
    with pytest.raises(AoiTooLarge) as caught:
        read_aoi("13,52,14,53", max_area_km2=7_500)
    assert caught.value.area_km2 == pytest.approx(7_545, rel=2e-3)
    assert caught.value.limit_km2 == 7_500
    assert read_aoi("13,52,14,53", max_area_km2=7_600)


def test_whole_earth_has_the_area_of_the_earth() -> None:
    assert read("-180,-90,180,90").area_km2 == pytest.approx(510_065_622, rel=1e-6)


@pytest.mark.parametrize("given", [WITH_HOLE.wkt, "179,1,-179,2"])
def test_record_gives_the_geometry_back(given: str) -> None:
    aoi = read(given)
    record = aoi.area()
    assert shapely.geometry.shape(record.model_dump()).equals_exact(aoi.geometry)
    assert geometry_of(record).equals_exact(aoi.geometry)
