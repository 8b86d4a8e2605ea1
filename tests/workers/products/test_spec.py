from decimal import ROUND_HALF_EVEN, Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from contract.bundle import BundleManifest, Encoding
from contract.errors import BundleInvalid, OutputNotInBundle
from tests.workers.products.conftest import MANIFEST
from workers.arrays import BoolArray, FloatArray
from workers.products.spec import RasterSpec, encode, raster_specs

SEEN = np.zeros((1, 1), bool)


def spec(dtype: str, nodata: float, *, scale: float = 1.0, offset: float = 0.0) -> RasterSpec:
    return RasterSpec(
        name="x",
        dtype=dtype,
        nodata=nodata,
        bands=("a",),
        scale=scale,
        offset=offset,
        description="",
        overviews="AVERAGE",
    )


def stored(value: float, raster: RasterSpec) -> float:
    return encode(np.full((1, 1, 1), value, np.float32), raster, SEEN).item()


def manifest_with(**changes: object) -> BundleManifest:
    variance = MANIFEST.output("variance").model_copy(update=changes)
    return MANIFEST.model_copy(update={"outputs": (MANIFEST.output("probabilities"), variance)})


@given(
    arrays(np.float32, (2, 3, 4), elements=st.floats(width=32, allow_nan=False)),
    arrays(np.bool_, (3, 4)),
    st.sampled_from([("uint8", 255), ("uint8", 0), ("uint16", 65535), ("uint16", 0)]),
    st.sampled_from([(1.0, 0.0), (1e-4, 0.0), (0.004, -0.1)]),
)
def test_nodata_stands_where_something_is_missing_and_nowhere_else(
    values: FloatArray, missing: BoolArray, storage: tuple[str, float], conversion: tuple[float, float]
) -> None:
    raster = spec(*storage, scale=conversion[0], offset=conversion[1])
    expected = np.broadcast_to(missing, values.shape)
    np.testing.assert_array_equal(encode(values, raster, missing) == raster.nodata, expected)


@given(st.floats(0, 1, width=32))
def test_values_are_rounded_half_to_even(value: float) -> None:
    exact = (Decimal(value) / Decimal("0.5")).quantize(Decimal(1), ROUND_HALF_EVEN)
    assert stored(value, spec("uint8", 255, scale=0.5)) == exact


@pytest.mark.parametrize(("value", "number"), [(0.5, 0), (1.5, 2), (2.5, 2), (254.4, 254), (254.6, 254), (1e30, 254)])
def test_a_whole_number_never_reaches_nodata_at_the_top(value: float, number: int) -> None:
    assert stored(value, spec("uint8", 255)) == number


@pytest.mark.parametrize(("value", "number"), [(-1.0, 1), (0.0, 1), (0.4, 1), (255.0, 255), (float("inf"), 255)])
def test_a_whole_number_never_reaches_nodata_at_the_bottom(value: float, number: int) -> None:
    assert stored(value, spec("uint8", 0)) == number


def test_nan_becomes_nodata() -> None:
    assert stored(float("nan"), spec("uint16", 65535, scale=1e-4)) == 65535


def test_nan_becomes_a_float32_nodata_that_is_a_number() -> None:
    assert stored(float("nan"), spec("float32", -9999)) == -9999


def test_float32_is_stored_bit_for_bit() -> None:
    bits = np.array([0x80000000, 0x00000001, 0x7F7FFFFF, 0x7FC00001, 0xFF800000, 0x3DCCCCCD], np.uint32)
    values = bits.view(np.float32).reshape(1, 2, 3)
    kept = encode(values, spec("float32", float("nan")), np.zeros((2, 3), bool))
    np.testing.assert_array_equal(kept.view(np.uint32).ravel(), bits)


def test_missing_float32_becomes_nodata() -> None:
    kept = encode(np.ones((2, 1, 2), np.float32), spec("float32", -9999), np.array([[True, False]]))
    np.testing.assert_array_equal(kept, [[[-9999, 1]], [[-9999, 1]]])


@pytest.mark.parametrize(
    ("raster", "shown"),
    [
        (spec("uint8", 255, scale=0.5, offset=-20), (-20, 107)),
        (spec("uint16", 0, scale=-0.001), (-65.535, -0.001)),
        (spec("float32", -9999), (0, 1)),
        (raster_specs(MANIFEST, ("probabilities",))[2], (0, 1)),
    ],
)
def test_a_raster_is_drawn_over_what_it_can_hold(raster: RasterSpec, shown: tuple[float, float]) -> None:
    assert raster.shown_range == pytest.approx(shown)


def test_a_job_writes_landcover_quality_and_what_the_bundle_always_gives() -> None:
    assert [raster.name for raster in raster_specs(MANIFEST, ())] == ["landcover", "quality", "variance"]


def test_an_output_asked_for_is_written_too() -> None:
    assert [raster.name for raster in raster_specs(MANIFEST, ("probabilities",))][-2:] == ["probabilities", "variance"]


def test_an_output_that_the_bundle_always_gives_is_written_once_when_asked_for() -> None:
    assert raster_specs(MANIFEST, ("variance",)) == raster_specs(MANIFEST, ())


def test_an_output_that_the_bundle_lacks_is_refused_with_what_it_has() -> None:
    with pytest.raises(OutputNotInBundle, match="'conformal_set'; it gives probabilities, variance"):
        raster_specs(MANIFEST, ("conformal_set",))


def test_a_nodata_inside_the_range_of_values_is_refused() -> None:
    with pytest.raises(BundleInvalid, match="nodata 77 lies inside"):
        raster_specs(manifest_with(encoding=Encoding(dtype="uint8", nodata=77)), ())


def test_an_output_may_not_take_the_name_of_another_raster() -> None:
    with pytest.raises(BundleInvalid, match="'quality'"):
        raster_specs(manifest_with(name="quality"), ())


def test_rasters_of_a_rules_bundle_make_no_claim() -> None:
    assert all("makes no claim of accuracy" in raster.description for raster in raster_specs(MANIFEST, ()))


def test_rasters_of_a_trained_bundle_do_not_speak_of_it() -> None:
    trained = MANIFEST.model_copy(update={"kind": "trained"})
    assert not any("claim" in raster.description for raster in raster_specs(trained, ()))
