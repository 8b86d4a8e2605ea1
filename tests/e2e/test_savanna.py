"""Four real dates, two of them cloudy and one with the offset of baseline 04.00, become what numpy makes of them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray

from tests.e2e.conftest import FLOAT32_DB, SAVANNA_BBOX, map_into, request_for

MASKED = (0, 3, 8, 9, 10, 11)
"""No data, cloud shadow, cloud of medium and of high probability, thin cirrus, snow."""
WITH_OFFSET = "S2A_MSIL2A_20200816_savanna"


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """The stored numbers of every date under the map."""

    s2: dict[str, NDArray[np.uint16]]
    """(bands, rows, cols) for each scene."""
    masked: dict[str, NDArray[np.bool_]]
    s1: NDArray[np.float32]
    """(dates, bands, rows, cols)"""


@pytest.fixture(scope="module")
def savanna(shared: Path, identity: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished job."""
    out = tmp_path_factory.mktemp("savanna") / "out"
    catalogue = shared / "stac" / "savanna" / "catalog.json"
    map_into(request_for(SAVANNA_BBOX, catalogue, identity, start="2020-07-01", end="2020-10-01"), out)
    return out


@pytest.fixture(scope="module")
def observed(savanna: Path, shared: Path) -> Observed:
    """What rasterio reads where the map lies."""
    assets = shared / "stac" / "savanna" / "assets"
    with rasterio.open(savanna / "landcover.tif") as mapped, rasterio.open(next(assets.rglob("B02.tif"))) as scene:
        assert mapped.crs == scene.crs
        window = scene.window(*mapped.bounds).round()

    def read(folder: Path, *names: str) -> NDArray[Any]:
        bands = []
        for name in names:
            with rasterio.open(folder / f"{name}.tif") as raster:
                bands.append(raster.read(1, window=window))
        return np.stack(bands)

    def classes(folder: Path) -> NDArray[np.uint8]:
        with rasterio.open(folder / "SCL.tif") as raster:
            in_10_m = raster.read(1).repeat(2, axis=0).repeat(2, axis=1)
        return in_10_m[window.toslices()]

    optical, radar = (sorted((assets / name).iterdir()) for name in ("s2", "s1"))
    return Observed(
        s2={folder.name: read(folder, "B02", "B03", "B04", "B08") for folder in optical},
        masked={folder.name: np.isin(classes(folder), MASKED) for folder in optical},
        s1=np.stack([read(folder, "vv", "vh") for folder in radar]),
    )


def median_of(observed: Observed, *, without_mask: bool = False, without_offset: bool = False) -> NDArray[np.float32]:
    """Median reflectance of the clear dates."""
    dates = []
    for name, stored in observed.s2.items():
        reflectance = stored.astype(np.float32) * np.float32(1e-4)
        if name == WITH_OFFSET and not without_offset:
            reflectance -= np.float32(0.1)
        if not without_mask:
            reflectance[:, observed.masked[name]] = np.nan
        dates.append(reflectance)
    return np.asarray(np.nanmedian(dates, axis=0))


def read_inside(path: Path) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """The bands, and where the area of interest is."""
    with rasterio.open(path) as raster:
        return raster.read(), raster.dataset_mask() == 255


def test_optical_dates_become_their_median_bit_for_bit(savanna: Path, observed: Observed) -> None:
    given, inside = read_inside(savanna / "s2_identity.tif")
    assert inside.mean() > 0.9
    np.testing.assert_array_equal(given[:, inside], median_of(observed)[:, inside])
    assert np.abs(given - median_of(observed, without_mask=True))[:, inside].max() > 0.1
    assert np.abs(given - median_of(observed, without_offset=True))[:, inside].mean() > 0.01


def test_radar_dates_become_the_decibels_of_their_mean_power(savanna: Path, observed: Observed) -> None:
    given, inside = read_inside(savanna / "s1_identity.tif")
    of_mean_power = 10 * np.log10(observed.s1.astype(np.float64).mean(axis=0))
    np.testing.assert_allclose(given[:, inside], of_mean_power[:, inside], rtol=0, atol=FLOAT32_DB)
    mean_of_decibels = (10 * np.log10(observed.s1)).mean(axis=0)
    assert np.abs(given - mean_of_decibels)[:, inside].mean() > 0.1


def test_quality_counts_the_clear_dates_and_the_passes(savanna: Path, observed: Observed) -> None:
    given, inside = read_inside(savanna / "quality.tif")
    clear = 4 - np.sum(list(observed.masked.values()), axis=0)
    assert set(np.unique(clear)) == {2, 3, 4}
    np.testing.assert_array_equal(given[0][inside], clear[inside])
    assert (given[1:, inside] == [[4], [3]]).all()
