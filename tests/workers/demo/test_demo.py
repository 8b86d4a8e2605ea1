import hashlib
import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pystac
import pytest
import rasterio
from rasterio import warp
from rio_cogeo.cogeo import cog_validate
from scipy import ndimage
from shapely.geometry import Polygon, box, shape

from contract.bands import SceneClass
from workers.demo.landscape import make_landscape
from workers.demo.scene import DemoScene, make_demo_scene
from workers.demo.scenes import LOOKS, OPTICAL_PASSES, RADAR_PASSES, OpticalScene, see_optical, see_radar
from workers.demo.spectra import Surface

SHAPE = (256, 320)
SEED = 7


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> DemoScene:
    return make_demo_scene(tmp_path_factory.mktemp("demo"), seed=SEED, shape=SHAPE)


@pytest.fixture(scope="module")
def scenes() -> list[OpticalScene]:
    landscape = make_landscape(SHAPE, SEED)
    return [see_optical(landscape, passing, SEED) for passing in OPTICAL_PASSES]


def read(path: Path) -> npt.NDArray[np.float64]:
    with rasterio.open(path) as raster:
        return np.asarray(raster.read(1), np.float64)


def checksums(demo: DemoScene) -> dict[str, str]:
    folder = demo.catalogue.parent
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_same_seed_gives_the_same_bytes(demo: DemoScene, tmp_path: Path) -> None:
    assert checksums(make_demo_scene(tmp_path, seed=SEED, shape=SHAPE)) == checksums(demo)


def test_another_seed_gives_another_place() -> None:
    first, second = (make_landscape(SHAPE, seed).truth for seed in (1, 2))
    assert (first != second).mean() > 0.3


@pytest.mark.parametrize("value", [10, 20, 30, 40, 50, 60, 80, 90])
def test_every_class_is_there(demo: DemoScene, value: int) -> None:
    assert (read(demo.truth) == value).sum() > 10


def test_every_raster_is_a_valid_cog_on_one_grid(demo: DemoScene) -> None:
    paths = sorted(demo.catalogue.parent.rglob("*.tif"))
    assert len(paths) == 1 + 5 * 5 + 4 * 2
    for path in paths:
        assert cog_validate(path, quiet=True) == (True, [], [])
        with rasterio.open(path) as raster:
            assert raster.crs.to_epsg() == 32632
            assert raster.bounds == (600_000, 5_397_440, 603_200, 5_400_000)
            assert raster.res == ((20, 20) if path.stem == "SCL" else (10, 10))


def test_catalogue_is_readable_and_tells_what_it_is(demo: DemoScene) -> None:
    catalogue = pystac.Catalog.from_file(demo.catalogue)
    assert "not a real place" in catalogue.description
    items = {collection.id: list(collection.get_items()) for collection in catalogue.get_children()}
    assert {name: len(found) for name, found in items.items()} == {"sentinel-2-l2a": 5, "sentinel-1-rtc": 4}
    assert set(items["sentinel-2-l2a"][0].assets) == {"B02", "B03", "B04", "B08", "SCL"}
    assert set(items["sentinel-1-rtc"][0].assets) == {"vv", "vh"}
    for item in (*items["sentinel-2-l2a"], *items["sentinel-1-rtc"]):
        assert item.datetime is not None
        assert demo.start < item.datetime < demo.end
        for asset in item.assets.values():
            assert not Path(asset.href).is_absolute()
            with rasterio.open(asset.get_absolute_href()) as raster:
                assert list(raster.shape) == asset.extra_fields["proj:shape"]


def test_footprints_are_where_the_pixels_are(demo: DemoScene) -> None:
    catalogue = pystac.Catalog.from_file(demo.catalogue)
    for item in catalogue.get_items(recursive=True):
        path = next(iter(item.assets.values())).get_absolute_href()
        with rasterio.open(path) as raster:
            observed = raster.read_masks(1) > 0
            footprint = shape(warp.transform_geom("EPSG:4326", raster.crs, item.geometry))
            assert footprint.area == pytest.approx(observed.sum() * raster.res[0] ** 2, rel=0.005)
            assert footprint.difference(box(*raster.bounds)).area < 0.001 * footprint.area


def test_aoi_is_no_rectangle_and_lies_inside(demo: DemoScene) -> None:
    aoi = shape(json.loads(demo.aoi.read_text())["geometry"])
    assert isinstance(aoi, Polygon)
    with rasterio.open(demo.truth) as raster:
        scene = box(*warp.transform_bounds(raster.crs, "EPSG:4326", *raster.bounds))
    assert aoi.is_valid
    assert aoi.exterior.is_ccw
    assert scene.contains(aoi)
    assert 0.3 < aoi.area / aoi.envelope.area < 0.9


def test_offset_dates_agree_with_the_others_once_it_is_removed(scenes: list[OpticalScene]) -> None:
    conifers = make_landscape(SHAPE, SEED).surface == Surface.CONIFER  # the same all year
    medians = []
    for scene, passing in zip(scenes, OPTICAL_PASSES, strict=True):
        offset = 1000 if passing.baseline == "04.00" else 0
        clear = (scene.bands[0] > 0) & (scene.sky.cumulus_depth + scene.sky.cirrus_depth + scene.sky.shadow < 0.01)
        red = (scene.bands[2].astype(float) - offset) / 10_000
        medians.append(np.median(red[clear & conifers]))
    assert {passing.baseline for passing in OPTICAL_PASSES} == {"03.00", "03.01", "04.00"}
    np.testing.assert_allclose(medians, medians[0], atol=0.005)


def test_scene_classification_marks_most_of_each_cloud_but_not_its_rim(scenes: list[OpticalScene]) -> None:
    for scene in scenes:
        depth = np.repeat(np.repeat(scene.scl, 2, 0), 2, 1)
        cloud = np.isin(depth, (SceneClass.CLOUD_MEDIUM_PROBABILITY, SceneClass.CLOUD_HIGH_PROBABILITY))
        observed = depth != SceneClass.NO_DATA
        thick, thin = scene.sky.cumulus_depth > 1.0, (scene.sky.cumulus_depth > 0.02) & (scene.sky.cumulus_depth < 0.08)
        assert cloud[thick & observed].mean() > 0.95
        assert cloud[thin & observed].mean() < 0.5
        assert cloud[(scene.sky.cumulus_depth == 0) & observed].mean() < 0.1


def test_clouds_and_shadows_move_between_dates(scenes: list[OpticalScene]) -> None:
    clouds = np.array([scene.sky.cumulus_depth.ravel() > 0.5 for scene in scenes])
    assert np.abs(np.corrcoef(clouds)[np.triu_indices(5, 1)]).max() < 0.5
    assert np.all(clouds, axis=0).mean() < 0.02


def test_shadows_fall_away_from_the_sun(scenes: list[OpticalScene]) -> None:
    """The sun of the morning stands in the south-east, so the shadow is the cloud moved up and to the left."""
    scene = scenes[1]
    cloud = scene.sky.cumulus_depth > 0
    length = 1200 * np.tan(np.radians(28)) / 10
    up, left = round(length * np.cos(np.radians(30))), round(length * np.sin(np.radians(30)))
    np.testing.assert_array_equal((scene.sky.shadow > 0)[:-up, :-left], cloud[up:, left:])


def test_speckle_has_the_stated_looks_and_water_is_dark() -> None:
    landscape = make_landscape(SHAPE, SEED)
    vv, vh = see_radar(landscape, RADAR_PASSES[2], SEED)
    lake = landscape.surface == Surface.LAKE
    assert 10 * np.log10(np.median(vv[lake])) < -17 < 10 * np.log10(vv[~lake].mean())
    assert vh.mean() < vv.mean()
    inside = ndimage.binary_erosion(lake, iterations=3)
    one_surface = vv[inside & (np.abs(landscape.brightness - 1) < 0.02)]
    assert 1 / np.var(np.log(one_surface)) == pytest.approx(LOOKS - 0.5, rel=0.25)


def test_a_shape_that_cannot_hold_a_landscape_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least 256"):
        make_demo_scene(tmp_path, shape=(255, 512))
