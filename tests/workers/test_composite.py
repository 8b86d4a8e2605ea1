"""Composites against numpy on whole files."""

import json
import threading
import time
import warnings
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import rasterio

from contract.bands import Modality, SceneClass, Unit
from contract.errors import Interrupted, SourceUnreachable
from contract.grid import Grid, Window
from contract.request import MapOptions
from contract.scene import Radiometry, Scene
from tests.faults import faulty_server
from tests.rasters import GRID, PHYSICAL, POWER, scene_of, write_raster
from workers.arrays import BoolArray, FloatArray
from workers.composite import MAX_COUNT, Composite, build_composite, cut_parts, stack_bytes_per_px
from workers.reading import Patience, SceneReader
from workers.resampling import BandPixels, Resampling
from workers.sighting import sightings
from workers.sources.signing import Signer, Signing

S2_BANDS = ("B02", "B03", "B04", "B08")
S1_BANDS = ("VV", "VH")
SAVANNA = Grid(crs="EPSG:32736", left_m=500_000, top_m=8_300_000, resolution_m=10, height=800, width=400)
NOON = datetime(2021, 6, 1, 12, tzinfo=UTC)


def compose(  # noqa: PLR0913  mirrors what it calls
    scenes: Sequence[Scene],
    *,
    grid: Grid = GRID,
    window: Window | None = None,
    bands: dict[Modality, tuple[str, ...]] | None = None,
    options: MapOptions | None = None,
    outside: BoolArray | None = None,
    reader: SceneReader | None = None,
    stop: threading.Event | None = None,
    stack_bytes: int = 1 << 28,
) -> Composite:
    window = window or grid.window
    return build_composite(
        sightings(scenes, grid),
        grid=grid,
        window=window,
        bands=bands or {Modality.S2: ("B02",)},
        options=options or MapOptions(),
        reader=reader or SceneReader(),
        outside=np.zeros(window.shape, np.bool_) if outside is None else outside,
        stop=stop or threading.Event(),
        stack_bytes=stack_bytes,
    )


def s2_layer(composite: Composite) -> tuple[FloatArray, BoolArray, list[int]]:
    """Values of the first band, missing, and the counts that occur."""
    layer = composite.layers[Modality.S2]
    return layer.values[0], layer.missing, np.unique(layer.count).tolist()


def plane(value: float) -> FloatArray:
    return np.full(GRID.shape, value, np.float32)


def dated(folder: Path, days: int, **planes: FloatArray) -> Scene:
    """A scene of these bands, so many days after the first."""
    assets = {band: write_raster(folder / f"{days}_{band}.tif", values) for band, values in planes.items()}
    radiometry = POWER if "VV" in assets else PHYSICAL
    return scene_of(assets, name=f"day{days}", acquired=NOON + timedelta(days=days), radiometry=radiometry)


# --- real scenes ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def savanna(shared: Path) -> tuple[Scene, ...]:
    return tuple(savanna_scene(path) for path in sorted((shared / "stac" / "savanna").glob("sentinel-*/*/*.json")))


def savanna_scene(item: Path) -> Scene:
    document = json.loads(item.read_text())
    assets = {band.upper(): (item.parent / asset["href"]).resolve() for band, asset in document["assets"].items()}
    baseline = document["properties"].get("s2:processing_baseline")
    offset = -0.1 if baseline == "04.00" else 0.0
    return scene_of(
        assets,
        name=document["id"],
        acquired=datetime.fromisoformat(document["properties"]["datetime"]),
        baseline=baseline,
        radiometry=Radiometry(unit=Unit.REFLECTANCE, scale=1e-4, offset=offset, nodata=0, reason="baseline")
        if baseline
        else POWER,
    )


def whole(scene: Scene, band: str) -> FloatArray:
    asset = scene.asset(band)
    assert asset is not None
    with rasterio.open(asset.href) as raster:
        values: FloatArray = raster.read(1)
        return values


def numpy_median(scenes: Sequence[Scene], band: str, *, masked: Sequence[int], offset: bool) -> FloatArray:
    """The reference: whole files, in plain numpy."""
    dates = []
    for scene in scenes:
        stored = whole(scene, band)
        correct = np.float32(-0.1) if offset and scene.id == "S2A_MSIL2A_20200816_savanna" else np.float32(0)
        values = stored.astype(np.float32) * np.float32(1e-4) + correct
        cloudy = np.isin(whole(scene, "SCL").repeat(2, axis=0).repeat(2, axis=1), masked)
        dates.append(np.where(cloudy | (stored == 0), np.nan, values))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # no clear date
        median: FloatArray = np.nanmedian(np.stack(dates), axis=0)
    return median


def test_four_dates_of_savanna_agree_with_numpy_to_the_bit(savanna: tuple[Scene, ...]) -> None:
    optical = [scene for scene in savanna if scene.modality is Modality.S2]
    assert len(optical) == 4
    composite = compose(optical, grid=SAVANNA, bands={Modality.S2: S2_BANDS})
    layer = composite.layers[Modality.S2]
    clouds = [0, *MapOptions().masked_scene_classes]
    for band, values in zip(S2_BANDS, layer.values, strict=True):
        expected = numpy_median(optical, band, masked=clouds, offset=True)
        np.testing.assert_array_equal(layer.missing, np.isnan(expected))
        np.testing.assert_array_equal(values, np.nan_to_num(expected))
        # Both steps matter on these scenes.
        assert np.mean(values != numpy_median(optical, band, masked=[0], offset=True)) > 0.05
        assert np.mean(values != numpy_median(optical, band, masked=clouds, offset=False)) > 0.5
    assert set(composite.used_scenes) == {scene.id for scene in optical}
    assert composite.warnings == ()
    assert composite.lost_reads == ()
    assert not any(layer.lost.any() for layer in composite.layers.values())


def test_radar_of_savanna_is_averaged_as_power(savanna: tuple[Scene, ...]) -> None:
    radar = [scene for scene in savanna if scene.modality is Modality.S1]
    assert len(radar) == 4
    layer = compose(radar, grid=SAVANNA, bands={Modality.S1: S1_BANDS}).layers[Modality.S1]
    for band, values in zip(S1_BANDS, layer.values, strict=True):
        power = np.stack([whole(scene, band) for scene in radar]).astype(np.float64)
        np.testing.assert_allclose(values, 10 * np.log10(power.mean(axis=0)), rtol=0, atol=1e-5)
        assert np.abs(values - (10 * np.log10(power)).mean(axis=0)).max() > 0.1
    assert np.unique(layer.count).tolist() == [4]


@pytest.mark.parametrize(("height", "width"), [(2112, 2112), (700, 1300), (1, 5000), (5000, 1), (97, 89)])
@pytest.mark.parametrize("scenes", [1, 25, 100])
@pytest.mark.parametrize("stack_bytes", [1, 1 << 20, 1 << 28])
def test_the_parts_of_a_window_cover_each_pixel_once(height: int, width: int, scenes: int, stack_bytes: int) -> None:
    window = Window(row=-7, col=13, height=height, width=width)
    # Memory for one pixel is many parts: a smaller window shows the same.
    window = Window(row=-7, col=13, height=min(height, 60), width=min(width, 70)) if stack_bytes == 1 else window
    times = np.zeros(window.shape, np.uint8)
    for part in cut_parts(window, scenes=scenes, bands=10, stack_bytes=stack_bytes):
        times[part.slices_in(window)] += 1
        assert part.size_px <= max(1, stack_bytes / stack_bytes_per_px(scenes, 10))
    assert (times == 1).all()


def test_a_composite_does_not_depend_on_window_or_memory(savanna: tuple[Scene, ...]) -> None:
    bands = {Modality.S2: ("B02", "B11"), Modality.S1: S1_BANDS}
    seam = SAVANNA.model_copy(update={"crs": "EPSG:32735", "left_m": 1_144_900.0, "top_m": 8_289_530.0})
    for grid in (SAVANNA, seam):
        frame = grid.window
        all_at_once = compose(savanna, grid=grid, bands=bands)
        assert not all_at_once.layers[Modality.S2].missing.all()
        pieces = [Window(row=300, col=-9, height=111, width=150), Window(row=411, col=141, height=60, width=259)]
        for piece in pieces:
            part = compose(savanna, grid=grid, window=piece, bands=bands, stack_bytes=1 << 20)
            shown = piece.intersection(frame)
            assert shown is not None
            for modality in bands:
                one, other = part.layers[modality], all_at_once.layers[modality]
                inner, outer = shown.slices_in(piece), shown.slices_in(frame)
                np.testing.assert_array_equal(one.values[:, *inner], other.values[:, *outer])
                np.testing.assert_array_equal(one.missing[inner], other.missing[outer])
                np.testing.assert_array_equal(one.count[inner], other.count[outer])


# --- rules ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "expected", "counts"), [("median", 0.3, [2]), ("mean", 0.3, [2]), ("first-clear", 0.2, [1])]
)
def test_each_rule_sees_clear_observations_only(
    tmp_path: Path, rule: Literal["median", "mean", "first-clear"], expected: float, counts: list[int]
) -> None:
    cloud, land = plane(SceneClass.CLOUD_HIGH_PROBABILITY), plane(SceneClass.VEGETATION)
    scenes = [
        dated(tmp_path, 3, B02=plane(0.4), SCL=land),
        dated(tmp_path, 1, B02=plane(0.9), SCL=cloud),
        dated(tmp_path, 2, B02=plane(0.2), SCL=land),
    ]
    values, missing, found = s2_layer(compose(scenes, options=MapOptions(s2_composite=rule)))
    np.testing.assert_allclose(values, expected, rtol=1e-6)
    assert not missing.any()
    assert found == counts


def test_the_masked_classes_are_the_requests(tmp_path: Path) -> None:
    classes = plane(SceneClass.VEGETATION)
    classes[:, :10], classes[:, 10:20], classes[:, 20:30] = SceneClass.NO_DATA, SceneClass.WATER, SceneClass.THIN_CIRRUS
    scene = dated(tmp_path, 1, B02=plane(0.1), SCL=classes)
    _, missing, _ = s2_layer(compose([scene], options=MapOptions(masked_scene_classes=(SceneClass.WATER,))))
    assert missing[:, :20].all()
    assert not missing[:, 20:].any()


def test_an_observation_needs_every_band(tmp_path: Path) -> None:
    gap = plane(0.3)
    gap[5, 5] = np.nan
    scenes = [dated(tmp_path, 1, B02=plane(0.1), B03=gap), dated(tmp_path, 2, B02=plane(0.3), B03=plane(0.3))]
    layer = compose(scenes, bands={Modality.S2: ("B02", "B03")}).layers[Modality.S2]
    assert layer.values[0, 5, 5] == np.float32(0.3)
    assert layer.count[5, 5] == 1
    assert layer.values[0, 5, 6] == np.float32(0.2)


def test_scenes_of_one_pass_count_once(tmp_path: Path) -> None:
    left, right = plane(0.1), plane(0.5)
    left[:, 60:] = np.nan
    right[:, :40] = np.nan
    one, other = dated(tmp_path, 0, B02=left), dated(tmp_path, 1, B02=right)
    neighbour = other.model_copy(update={"acquired": one.acquired + timedelta(seconds=20)})
    later = dated(tmp_path, 5, B02=plane(0.9))
    layer = compose([one, neighbour, later]).layers[Modality.S2]
    assert np.unique(layer.count).tolist() == [2]
    np.testing.assert_allclose(layer.values[0, :, 45], (0.1 + 0.9) / 2, rtol=1e-6)
    np.testing.assert_allclose(layer.values[0, :, 80], (0.5 + 0.9) / 2, rtol=1e-6)


def test_in_one_pass_tiles_in_the_grids_crs_win_over_warped_ones(tmp_path: Path) -> None:
    native, warped = dated(tmp_path, 0, B02=plane(0.1)), dated(tmp_path, 1, B02=plane(0.5))
    native = native.model_copy(update={"mgrs_tile": "33TWL", "baseline": "04.00"})
    for tile in ("32TWL", "33HWL", None):
        newer = warped.model_copy(update={"mgrs_tile": tile, "baseline": "05.10", "acquired": native.acquired})
        np.testing.assert_array_equal(s2_layer(compose([newer, native]))[0], plane(0.1))


def test_a_count_never_reaches_the_nodata_of_products(tmp_path: Path) -> None:
    scene = dated(tmp_path, 0, B02=plane(0.1))
    many = [scene.model_copy(update={"id": f"day{day}", "acquired": NOON + timedelta(days=day)}) for day in range(260)]
    layer = compose(many, window=Window(row=0, col=0, height=2, width=3)).layers[Modality.S2]
    assert np.unique(layer.count).tolist() == [MAX_COUNT] == [254]


def test_without_scenes_everything_is_missing() -> None:
    values, missing, counts = s2_layer(compose([]))
    assert missing.all()
    assert not values.any()
    assert counts == [0]


def test_scenes_elsewhere_are_not_opened(tmp_path: Path) -> None:
    here = dated(tmp_path, 0, B02=plane(0.1))
    path = write_raster(tmp_path / "far.tif", plane(0.2), left_m=600_000)
    elsewhere = scene_of({"B02": path}, name="far")
    path.unlink()
    composite = compose([here, elsewhere])
    assert composite.used_scenes == ("day0",)
    assert composite.lost_reads == ()


# --- what goes wrong --------------------------------------------------------------------------------------------------


def without(scene: Scene, band: str) -> Scene:
    """The scene with the file of a band deleted."""
    asset = scene.asset(band)
    assert asset is not None
    Path(asset.href).unlink()
    return scene


def test_an_unreadable_band_costs_this_observation_and_is_counted(tmp_path: Path) -> None:
    broken = without(dated(tmp_path, 1, B02=plane(0.1), B03=plane(0.1)), "B03")
    outside = np.zeros(GRID.shape, np.bool_)
    outside[:, :40] = True
    composite = compose(
        [broken, dated(tmp_path, 2, B02=plane(0.5), B03=plane(0.5))],
        bands={Modality.S2: ("B02", "B03")},
        outside=outside,
        stack_bytes=40_000,
    )
    values, missing, counts = s2_layer(composite)
    np.testing.assert_array_equal(values, plane(0.5))
    assert not missing.any()
    assert counts == [1]
    (lost,) = composite.lost_reads
    assert (lost.scene, lost.band) == ("day1", "B03")
    assert "No such file" in lost.reason
    assert lost.pixels == composite.layers[Modality.S2].lost.sum() == np.sum(~outside & covered(broken))
    assert composite.used_scenes == ("day2",)


def covered(scene: Scene) -> BoolArray:
    """Pixel centres inside a scene's footprint, by rasterio."""
    shape = rasterio.warp.transform_geom("EPSG:4326", GRID.crs, scene.footprint.model_dump(mode="json"))
    transform = rasterio.Affine(10, 0, GRID.left_m, 0, -10, GRID.top_m)
    return rasterio.features.rasterize([shape], GRID.shape, transform=transform).astype(np.bool_)


def test_a_scene_is_given_up_once_for_all_parts_of_a_window(tmp_path: Path) -> None:
    scenes = [dated(tmp_path, day, B02=plane(0.1), B03=plane(0.1), SCL=plane(4)) for day in (1, 2)]
    reader = CountingReader()
    composite = compose(
        [without(scenes[0], "B02"), scenes[1]],
        bands={Modality.S2: ("B02", "B03")},
        reader=reader,
        stack_bytes=40_000,
    )
    assert reader.reads["day2", "B02"] == reader.reads["day2", "B03"] > 4
    assert reader.reads["day1", "B02"] == 1
    assert reader.reads["day1", "B03"] <= 1
    assert reader.reads["day1", "SCL"] <= 1
    (lost,) = composite.lost_reads
    assert lost.pixels == composite.layers[Modality.S2].lost.sum() == covered(scenes[0]).sum()
    assert s2_layer(composite)[2] == [1]


class CountingReader(SceneReader):
    """Counts what is asked of it."""

    def __init__(self) -> None:
        super().__init__()
        self.reads: Counter[tuple[str, str]] = Counter()

    def read(
        self, scene: Scene, band: str, *, grid: Grid, window: Window, resampling: Resampling = Resampling.BILINEAR
    ) -> BandPixels:
        self.reads[scene.id, band] += 1
        return super().read(scene, band, grid=grid, window=window, resampling=resampling)


def test_what_one_sensor_lost_is_not_lost_to_the_other(tmp_path: Path) -> None:
    broken = without(dated(tmp_path, 1, B02=plane(0.1)), "B02")
    radar = dated(tmp_path, 2, VV=plane(0.1), VH=plane(0.1))
    layers = compose([broken, radar], bands={Modality.S2: ("B02",), Modality.S1: S1_BANDS}).layers
    assert layers[Modality.S2].lost.all()
    assert not layers[Modality.S1].lost.any()


def test_without_a_token_endpoint_nothing_is_lost_and_the_run_ends(tmp_path: Path) -> None:
    with pytest.raises(SourceUnreachable, match="no answer"):
        compose([dated(tmp_path, 1, B02=plane(0.1))], reader=SceneReader(NoTokens()))


class NoTokens(Signer):
    """Its token endpoint is down."""

    def readable(self, href: str, signing: Signing) -> str:  # noqa: ARG002  the interface
        raise SourceUnreachable("planetary-computer", href, "no answer")


def test_pixels_are_never_used_without_their_mask(tmp_path: Path) -> None:
    unmasked = without(dated(tmp_path, 1, B02=plane(0.1), SCL=plane(4)), "SCL")
    composite = compose([unmasked])
    assert s2_layer(composite)[1].all()
    assert [(lost.scene, lost.band) for lost in composite.lost_reads] == [("day1", "SCL")]
    assert composite.used_scenes == ()


def test_scenes_without_a_classification_are_warned_of_once(tmp_path: Path) -> None:
    composite = compose([dated(tmp_path, day, B02=plane(0.05)) for day in range(3)], stack_bytes=40_000)
    (warning,) = composite.warnings
    assert "without a scene classification" in warning


def test_a_stop_does_not_wait_for_reads_under_way(tmp_path: Path) -> None:
    scene = dated(tmp_path, 0, B02=plane(0.1))
    stop = threading.Event()
    with faulty_server(tmp_path) as server:
        server.faults = ["stalled"] * 100
        remote = scene_of({"B02": f"{server.address}/0_B02.tif"}, footprint=scene.footprint)
        threading.Timer(0.1, stop.set).start()
        begun = time.monotonic()
        with pytest.raises(Interrupted):
            compose([remote], reader=SceneReader(patience=Patience(attempts=1, stall_s=2)), stop=stop)
        assert time.monotonic() - begun < 1


@pytest.mark.parametrize(
    ("low", "baseline", "warning"),
    [
        (0.0, "04.00", None),
        (0.1, "04.00", "not to be removed"),
        (0.1, None, "not to be removed"),
        (0.1, "02.14", None),
        (-0.1, "05.10", "applied twice"),
        (-0.01, "05.10", None),
    ],
)
def test_a_wrong_offset_is_noticed(tmp_path: Path, low: float, baseline: str | None, warning: str | None) -> None:
    land = np.random.default_rng(0).uniform(low, low + 0.3, (400, 400)).astype(np.float32)
    path = write_raster(tmp_path / "b.tif", land)
    mask = write_raster(tmp_path / "scl.tif", np.full(land.shape, 4, np.uint8))
    scene = scene_of({"B02": path, "SCL": mask}, baseline=baseline)
    composite = compose([scene], grid=GRID.model_copy(update={"height": 400, "width": 400}))
    assert [warning in text for text in composite.warnings] == ([True] if warning else [])
    np.testing.assert_array_equal(s2_layer(composite)[0], land)
