"""Where UTM zones meet and where longitude jumps, a pixel still lies where the map says.

The scenes hold, at the centre of each pixel, its position: `B02` its longitude and `B03` its latitude, counted from
where the zones meet and from the south of the area, in steps of 1e-6 degrees (0.1 m).
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray
from pyproj import Transformer
from shapely import MultiPolygon, box
from shapely.geometry import mapping, shape

from contract.bands import Modality
from contract.request import MapOptions, MapResult
from tests.e2e.conftest import map_into, request_for
from tests.rasters import write_raster
from tests.workers.sources.examples import s2_item

HEIGHT_DEG = 0.012
MARGIN_DEG = 0.004
"""By which scenes are larger than the area."""
STEPS_PER_DEG, MIDDLE_STEP = 1e6, 32_768
STEPS_PER_REFLECTANCE = 1e4

Angle = TypeVar("Angle", float, NDArray[np.float64])


@dataclass(frozen=True, slots=True, kw_only=True)
class Seam:
    """A meridian where two UTM zones meet."""

    lon: float
    lat: float
    """Where the area begins in the south."""
    west_crs: str
    east_crs: str
    width_deg: tuple[float, float]
    """From where to where the area reaches, from the seam."""
    map_crs: str
    """Of the zone in which most of the area lies."""

    @property
    def area(self) -> tuple[float, float, float, float]:
        """West, south, east, north; west > east over the antimeridian."""
        west, east = (turned(self.lon + edge) for edge in self.width_deg)
        return west, self.lat, east, self.lat + HEIGHT_DEG


SEAMS = {
    "12 degrees east": Seam(
        lon=12,
        lat=46,
        west_crs="EPSG:32632",
        east_crs="EPSG:32633",
        width_deg=(-0.010, 0.020),
        map_crs="EPSG:32633",
    ),
    "antimeridian": Seam(
        lon=180,
        lat=-16.8,
        west_crs="EPSG:32760",
        east_crs="EPSG:32701",
        width_deg=(-0.020, 0.010),
        map_crs="EPSG:32760",
    ),
}


@pytest.fixture(scope="module", params=SEAMS)
def seam(request: pytest.FixtureRequest) -> Seam:
    return SEAMS[request.param]


@pytest.fixture(scope="module")
def scenes(seam: Seam, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An item collection: the area in either zone on a day of its own, then in two tiles of one pass that overlap."""
    folder = tmp_path_factory.mktemp("scenes")
    west, east = seam.width_deg[0] - MARGIN_DEG, seam.width_deg[1] + MARGIN_DEG
    items = [
        write_scene(folder / "all-west", seam, seam.west_crs, "2021-06-01", (west, east)),
        write_scene(folder / "all-east", seam, seam.east_crs, "2021-06-11", (west, east)),
        write_scene(folder / "half-west", seam, seam.west_crs, "2021-06-21", (west, 0.001)),
        write_scene(folder / "half-east", seam, seam.east_crs, "2021-06-21", (-0.001, east)),
    ]
    path = folder / "items.json"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": items}))
    return path


def write_scene(path: Path, seam: Seam, crs: str, day: str, width_deg: tuple[float, float]) -> dict[str, object]:
    """The item of a scene that spans these longitudes, from the seam."""
    south, north = seam.lat - MARGIN_DEG, seam.lat + HEIGHT_DEG + MARGIN_DEG
    west, east = (seam.lon + edge for edge in width_deg)
    project = Transformer.from_crs("EPSG:4326", crs, always_xy=True)
    x, y = project.transform([west, west, east, east], [south, north, south, north])
    left, top = min(x), max(y)  # on a lattice of its own, so that every pixel is interpolated
    rows, cols = math.ceil((top - min(y)) / 10), math.ceil((max(x) - left) / 10)
    centres = np.meshgrid(left + 10 * (np.arange(cols) + 0.5), top - 10 * (np.arange(rows) + 0.5))
    lon, lat = project.transform(centres[0], centres[1], direction="INVERSE")
    bands = {"B02": turned(lon - seam.lon), "B03": lat - seam.lat}
    paths = {
        band: write_raster(
            path.with_name(f"{path.name}-{band}.tif"),
            np.rint(MIDDLE_STEP + degrees * STEPS_PER_DEG).astype(np.uint16),
            crs=crs,
            left_m=left,
            top_m=top,
        )
        for band, degrees in bands.items()
    }
    area = turned(west), south, turned(east), north
    item = s2_item(path.name, when=f"{day}T10:00:00Z", footprint=outline(*area), s2__processing_baseline="02.14")
    hrefs = {"B02": paths["B02"], "B03": paths["B03"], "B04": paths["B02"], "B08": paths["B03"]}
    item["assets"] = {band: {"href": str(path)} for band, path in hrefs.items()}
    item["bbox"] = area
    return item


def turned(lon: Angle) -> Angle:
    """The longitude in -180..180."""
    return (lon + 180) % 360 - 180


def outline(west: float, south: float, east: float, north: float) -> MultiPolygon:
    """A box, cut at the antimeridian where west > east (RFC 7946, section 3.1.9)."""
    if west < east:
        return MultiPolygon([box(west, south, east, north)])
    return MultiPolygon([box(west, south, 180, north), box(-180, south, east, north)])


def map_area(area: str, scenes: Path, identity: Path, out: Path, span: tuple[str, str]) -> MapResult:
    options = MapOptions(modalities=(Modality.S2,))
    return map_into(request_for(area, scenes, identity, start=span[0], end=span[1], options=options), out)


def as_text(area: tuple[float, float, float, float]) -> str:
    return ",".join(map(str, area))


@pytest.mark.parametrize(
    ("used", "span"),
    [
        ({"all-west"}, ("2021-06-01", "2021-06-02")),
        ({"all-east"}, ("2021-06-11", "2021-06-12")),
        ({"all-west", "all-east"}, ("2021-06-01", "2021-06-12")),
        ({"half-west", "half-east"}, ("2021-06-21", "2021-06-22")),
    ],
    ids=["west", "east", "both", "tiles of one pass"],
)
def test_every_pixel_holds_the_position_of_its_centre(
    used: set[str], span: tuple[str, str], seam: Seam, scenes: Path, identity: Path, tmp_path: Path
) -> None:
    result = map_area(as_text(seam.area), scenes, identity, tmp_path / "out", span)
    assert set(result.used_scenes) == used
    with rasterio.open(tmp_path / "out" / "s2_identity.tif") as raster:
        assert raster.crs.to_string() == seam.map_crs
        held_lon, held_lat = (
            (raster.read(band).astype(np.float64) * STEPS_PER_REFLECTANCE - MIDDLE_STEP) / STEPS_PER_DEG
            for band in (1, 2)
        )
        x, y = (np.reshape(centres, raster.shape) for centres in raster.xy(*np.indices(raster.shape).reshape(2, -1)))
    project = Transformer.from_crs("EPSG:4326", seam.map_crs, always_xy=True)
    mapped = ~np.isnan(held_lon)
    held_x, held_y = project.transform(seam.lon + held_lon[mapped], seam.lat + held_lat[mapped])
    error_px = np.hypot(held_x - x[mapped], held_y - y[mapped]) / 10
    edge_px = x.shape[0] if "half-west" in used else 0  # a tile's last column has no neighbour to interpolate with
    assert np.count_nonzero(error_px >= 0.1) <= edge_px
    lon, lat = project.transform(x, y, direction="INVERSE")
    from_seam, (west, east) = turned(lon - seam.lon), seam.width_deg
    inside = (west < from_seam) & (from_seam < east) & (seam.lat < lat) & (lat < seam.lat + HEIGHT_DEG)
    assert np.count_nonzero(mapped != inside) < 10  # on the outline, where the last centimetres decide


@pytest.mark.parametrize("seam", ["antimeridian"], indirect=True)
def test_a_box_over_the_antimeridian_and_its_two_halves_give_one_map(
    seam: Seam, scenes: Path, identity: Path, tmp_path: Path
) -> None:
    halves = outline(*seam.area)
    span = ("2021-06-01", "2021-06-22")
    rasters = [
        {file.name: file.sha256 for file in result.artifacts if file.name.endswith(".tif")}
        for result in (
            map_area(as_text(seam.area), scenes, identity, tmp_path / "box", span),
            map_area(json.dumps(mapping(halves)), scenes, identity, tmp_path / "halves", span),
        )
    ]
    assert rasters[0] == rasters[1]
    for out in ("box", "halves"):
        item = json.loads((tmp_path / out / "item.json").read_text())
        collection = json.loads((tmp_path / out / "collection.json").read_text())
        assert item["bbox"] == pytest.approx([179.98, -16.8, -179.99, -16.788], abs=1e-9)
        assert collection["extent"]["spatial"]["bbox"] == [item["bbox"]]
        assert shape(item["geometry"]).equals_exact(halves, 1e-9, normalize=True)
