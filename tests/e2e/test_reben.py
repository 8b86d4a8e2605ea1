"""Real patches of four UTM zones, found through a STAC API, go through the line and come back as they were."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray

from contract.request import JobState, MapOptions, MapRequest
from tests.e2e.conftest import FLOAT32_DB, map_into, request_for
from tests.servers import served_catalogue

PATCHES = (
    "29UPU_23_32",  # Ireland
    "29SND_24_42",  # Portugal
    "32TMT_35_50",  # Switzerland
    "34TEQ_28_67",  # Serbia
    "34WFS_49_37",  # Finland
    "35ULB_55_55",  # Lithuania
    "35VPK_48_57",  # Finland, in a tile that reaches into the next zone
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Patch:
    """A square of 1200 m, seen once by each sensor."""

    s2: Path
    s1: Path
    """Folders of the assets."""
    crs: str
    outline: str
    """GeoJSON."""
    start: str
    end: str
    """Around both dates."""


@pytest.fixture(scope="module")
def api(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a STAC API with all patches."""
    with served_catalogue(shared / "stac" / "reben" / "catalog.json", tmp_path_factory.mktemp("api")) as address:
        yield address


@pytest.fixture(params=PATCHES)
def patch(request: pytest.FixtureRequest, shared: Path) -> Patch:
    root = shared / "stac" / "reben"
    paths = [next(root.glob(f"{sensor}*/*{request.param}/*.json")) for sensor in ("sentinel-2", "sentinel-1")]
    s2, s1 = (json.loads(path.read_text()) for path in paths)
    dates = sorted(datetime.fromisoformat(item["properties"]["datetime"]) for item in (s2, s1))
    return Patch(
        s2=root / "assets" / "s2" / s2["id"],
        s1=root / "assets" / "s1" / s1["id"],
        crs=s2["properties"]["proj:code"],
        outline=json.dumps(s2["geometry"]),
        start=f"{dates[0]:%Y-%m-%d}",
        end=f"{dates[1] + timedelta(days=1):%Y-%m-%d}",
    )


def request_to(api: str, patch: Patch, bundle: Path | str) -> MapRequest:
    options = MapOptions(crs=patch.crs)
    return request_for(patch.outline, api, bundle, start=patch.start, end=patch.end, options=options)


def stored(folder: Path, *bands: str) -> NDArray[Any]:
    """(bands, rows, cols)."""
    return np.stack([read(folder / f"{band}.tif") for band in bands])[:, 0]


def read(path: Path, *, where: Path | None = None) -> NDArray[Any]:
    """All bands of a raster; only `where` another lies, if there is one."""
    with rasterio.open(path) as raster:
        if where is None:
            return raster.read()
        with rasterio.open(where) as other:
            assert raster.crs == other.crs
            return raster.read(window=raster.window(*other.bounds))


def test_a_patch_comes_back_as_it_was(api: str, patch: Patch, identity: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = map_into(request_to(api, patch, identity), out)
    assert set(result.used_scenes) == {patch.s2.name, patch.s1.name}
    numbers = stored(patch.s2, "B02", "B03", "B04", "B08")
    given = read(out / "s2_identity.tif", where=patch.s2 / "B02.tif")
    np.testing.assert_array_equal(given, numbers.astype(np.float32) * np.float32(1e-4))
    power = stored(patch.s1, "vv", "vh").astype(np.float64)
    given = read(out / "s1_identity.tif", where=patch.s1 / "vv.tif")
    np.testing.assert_allclose(given, 10 * np.log10(power), rtol=0, atol=FLOAT32_DB)


def test_a_patch_is_mapped_and_its_missing_cloud_mask_is_told(api: str, patch: Patch, tmp_path: Path) -> None:
    result = map_into(request_to(api, patch, "spectral-rules"), tmp_path / "out")
    assert result.state is JobState.SUCCESSFUL
    landcover = read(tmp_path / "out" / "landcover.tif", where=patch.s2 / "B02.tif")
    assert landcover.shape == (1, 120, 120)
    assert landcover.all()
    assert any("no scene classification" in notice for notice in result.notices)
    assert any("clouds are not masked" in warning for warning in result.warnings)
