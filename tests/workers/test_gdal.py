"""Files that refer to others are not followed, wherever somebody else named or wrote them.

Each attack is shown to work first, on GDAL as it comes.
"""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
from rasterio.errors import RasterioIOError

from contract.errors import AoiUnreadable
from tests.rasters import GRID, write_raster
from workers.aoi import read_aoi
from workers.gdal import gdal_environment, open_raster

SECRET = 4242


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A raster that nobody was to see."""
    return write_raster(tmp_path / "secret.tif", np.full(GRID.shape, SECRET, np.uint16))


def vrt(secret: Path) -> str:
    return (
        f'<VRTDataset rasterXSize="{GRID.width}" rasterYSize="{GRID.height}">'
        '<GeoTransform>500000, 10, 0, 5000000, 0, -10</GeoTransform><VRTRasterBand dataType="UInt16" band="1">'
        f"<SimpleSource><SourceFilename>{secret}</SourceFilename><SourceBand>1</SourceBand></SimpleSource>"
        "</VRTRasterBand></VRTDataset>"
    )


def gti(secret: Path) -> str:
    index = secret.with_name("index.gpkg")
    with rasterio.open(secret) as raster:
        outline = np.array([shapely.to_wkb(shapely.box(*raster.bounds))], dtype=object)
    pyogrio.raw.write(
        index, outline, [np.array([str(secret)], dtype=object)], ["location"], geometry_type="Polygon", crs="EPSG:32633"
    )
    return (
        f"<GDALTileIndexDataset><IndexDataset>{index}</IndexDataset><ResX>10</ResX><ResY>10</ResY>"
        "<BandCount>1</BandCount><DataType>UInt16</DataType></GDALTileIndexDataset>"
    )


@pytest.mark.parametrize("attack", [vrt, gti], ids=lambda attack: attack.__name__)
def test_a_raster_that_refers_to_another_is_not_followed(
    attack: Callable[[Path], str], secret: Path, tmp_path: Path
) -> None:
    given = tmp_path / "scene.tif"
    given.write_text(attack(secret))
    with rasterio.open(given) as raster:
        assert (raster.read(1) == SECRET).any(), "the attack works on GDAL as it comes"
    with gdal_environment(), pytest.raises(RasterioIOError):
        open_raster(str(given))


@pytest.mark.parametrize(
    "name", ["vrt://{secret}", "{xml}", "DERIVED_SUBDATASET:AMPLITUDE:{secret}"], ids=["vrt", "inline", "derived"]
)
def test_a_name_that_is_a_recipe_is_not_followed(name: str, secret: Path) -> None:
    given = name.format(secret=secret, xml=vrt(secret))
    with rasterio.open(given) as raster:
        assert (raster.read(1) == SECRET).any(), "the attack works on GDAL as it comes"
    with gdal_environment(), pytest.raises(RasterioIOError):
        open_raster(given)


def test_overviews_beside_a_raster_are_not_looked_for(secret: Path, tmp_path: Path) -> None:
    given = write_raster(tmp_path / "scene.tif", np.ones(GRID.shape, np.uint16))
    (tmp_path / "scene.tif.ovr").write_text(
        vrt(secret).replace('rasterXSize="100" rasterYSize="60"', 'rasterXSize="50" rasterYSize="30"')
    )
    with rasterio.open(given) as raster:
        assert (raster.read(1, out_shape=(30, 50)) == SECRET).any(), "the attack works on GDAL as it comes"
    with gdal_environment(), open_raster(str(given)) as raster:
        assert (raster.read(1, out_shape=(30, 50)) == 1).all()


@pytest.mark.parametrize("suffix", [".gpkg", ".shp", ".fgb"])
def test_an_area_that_refers_to_another_file_is_not_followed(suffix: str, tmp_path: Path) -> None:
    (tmp_path / "secret.geojson").write_text(json.dumps(shapely.geometry.mapping(shapely.box(1, 2, 3, 4))))
    given = tmp_path / f"area{suffix}"
    given.write_text(
        f'<OGRVRTDataSource><OGRVRTLayer name="secret"><SrcDataSource>{tmp_path / "secret.geojson"}</SrcDataSource>'
        "</OGRVRTLayer></OGRVRTDataSource>"
    )
    assert pyogrio.raw.read(given)[2].size == 1, "the attack works on GDAL as it comes"
    with pytest.raises(AoiUnreadable):
        read_aoi(str(given), max_area_km2=1e9)
