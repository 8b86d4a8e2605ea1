"""StacArchive: the scenes of a static STAC catalogue on disk, cut into samples."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import shapely
from affine import Affine
from rasterio.transform import array_bounds
from rasterio.warp import Resampling, reproject, transform, transform_bounds
from rasterio.windows import from_bounds

from contract.bands import SCL, Modality, SceneClass, Unit
from contract.errors import ArchiveInvalid, SampleInvalid
from contract.grid import Window
from training.data.rasters import Raster, RasterGrid, decibel, read_bands, read_grid, reflectance, stacked
from training.data.sample import BandChoice, Entry, Sample
from training.data.scenes import COLLECTIONS, GRID_BAND, KIND, StacScene, read_contents
from training.data.stacks import place_of

MOST_PX: Final = 512
"""Sides of a sample: small beside a scene of 10980 px, large beside a chip."""
UNSEEN: Final = (
    SceneClass.NO_DATA,
    SceneClass.SATURATED_OR_DEFECTIVE,
    SceneClass.CLOUD_SHADOW,
    SceneClass.CLOUD_MEDIUM_PROBABILITY,
    SceneClass.CLOUD_HIGH_PROBABILITY,
    SceneClass.THIN_CIRRUS,
)
"""Pixels that do not show the ground. Snow does: it is a class."""

_NOT_OBSERVED: Final = 0
"""In Sentinel-2 bands, in SCL and in linear power alike."""
_MARGIN_PX: Final = 2
"""Read beyond the target on each side, so that interpolation has neighbours."""


class StacArchive:
    """Scenes in the naming of the Planetary Computer: sentinel-2-l2a with B02 and SCL, sentinel-1-rtc with vv and vh.

    A Sentinel-2 scene is cut into samples of at most 512 px, on its own 10 m grid; parts whose middle is outside of its
    outline are left out. Each sample has the Sentinel-1 scene that is nearest in time of those that cover its middle.
    Other grids are brought to this one bilinear, radar in linear power. Clouds and their shadows are not valid, by SCL
    where there is one. A place is an MGRS tile, or where that is unknown the spatial block of the scene.
    """

    def __init__(self, path: Path, bands: BandChoice | None = None, *, most_days_apart: float) -> None:
        """Read all items, and the header of one file of each Sentinel-2 scene.

        Args:
            path: The JSON file of a catalogue, collection or item collection, or the folder of a catalog.json.
            bands: What to read of each scene.
            most_days_apart: A Sentinel-1 scene further off in time than this is no partner.

        Raises:
            ArchiveInvalid: It is no STAC, an item lacks what is needed of it, or there is no Sentinel-2 scene.
            SampleUnreadable: The file that gives a scene's grid is missing or no GeoTIFF.
            SampleInvalid: It is not georeferenced.
        """
        self._bands = bands or BandChoice()
        contents = read_contents(path, self._bands)
        self.name, self.licence = contents.name, contents.licence
        s2, s1 = contents.scenes[Modality.S2], contents.scenes[Modality.S1]
        if not s2:
            raise ArchiveInvalid(str(path), KIND, f"it has no item of collection {COLLECTIONS[Modality.S2]}")
        cuts = [cut for scene in s2 for cut in _cuts(scene, _near(scene, s1, most_days_apart))]
        self._cuts = {cut.name: cut for cut in cuts}
        self.entries: Sequence[Entry] = tuple(cut.entry(self._bands) for cut in cuts)

    def read(self, entry: Entry) -> Sample:
        """The pixels of an entry, as `Archive.read` has it."""
        cut = self._cuts[entry.name]
        s2 = stacked([_on_grid(cut.s2.files[band], band, cut.grid) for band in self._bands.s2])
        if SCL in cut.s2.files:
            classes = _on_grid(cut.s2.files[SCL], SCL, cut.grid, Resampling.nearest)
            s2 = replace(s2, valid=s2.valid & classes.valid & ~np.isin(classes.values[0], UNSEEN))
        observations = {Modality.S2: reflectance(s2, offset=cut.s2.offset)}
        if cut.s1:
            s1 = stacked([_on_grid(cut.s1.files[band], band, cut.grid) for band in self._bands.s1])
            observations[Modality.S1] = decibel(s1, unit=Unit.LINEAR_POWER)
        return Sample(entry=entry, observations=observations)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Cut:
    """A part of a Sentinel-2 scene, and the Sentinel-1 scene that it goes with."""

    name: str
    place: str
    grid: RasterGrid
    s2: StacScene
    s1: StacScene | None

    def entry(self, bands: BandChoice) -> Entry:
        files = [self.s2.files[band] for band in (*bands.s2, SCL) if band in self.s2.files]
        files += [self.s1.files[band] for band in bands.s1] if self.s1 else []
        return Entry(
            name=self.name,
            place=self.place,
            footprint=self.grid.footprint,
            acquired=self.s2.taken.date(),
            files=tuple(files),
            paired=self.s1 is not None,
        )


def _near(scene: StacScene, others: Sequence[StacScene], most_days_apart: float) -> list[StacScene]:
    """The nearest in time first."""
    apart_s = {other.name: abs((other.taken - scene.taken).total_seconds()) for other in others}
    near = [other for other in others if apart_s[other.name] <= most_days_apart * 86400]
    return sorted(near, key=lambda other: apart_s[other.name])


def _cuts(scene: StacScene, partners: Sequence[StacScene]) -> Iterator[_Cut]:
    whole = read_grid(scene.files[GRID_BAND])
    if whole.crs is None:
        raise SampleInvalid(str(scene.files[GRID_BAND]), "no CRS", "a georeferenced file")
    place = scene.tile or place_of(whole.footprint)
    for window in _windows(whole.shape):
        grid = replace(
            whole, transform=whole.transform @ Affine.translation(window.col, window.row), shape=window.shape
        )
        middle = _middle(grid)
        if scene.outline.covers(middle):
            s1 = next((partner for partner in partners if partner.outline.covers(middle)), None)
            name = scene.name if window.shape == whole.shape else f"{scene.name}_r{window.row}_c{window.col}"
            yield _Cut(name=name, place=place, grid=grid, s2=scene, s1=s1)


def _windows(shape: tuple[int, int]) -> Iterator[Window]:
    """As few parts of about one size as are small enough."""
    rows, cols = shape
    height, width = (math.ceil(length / math.ceil(length / MOST_PX)) for length in shape)
    for row in range(0, rows, height):
        for col in range(0, cols, width):
            yield Window(row=row, col=col, height=min(height, rows - row), width=min(width, cols - col))


def _middle(grid: RasterGrid) -> shapely.Point:
    rows, cols = grid.shape
    x, y = grid.transform @ (cols / 2, rows / 2)
    lon, lat = transform(grid.crs, "EPSG:4326", [x], [y])[:2]
    return shapely.Point(lon[0], lat[0])


def _on_grid(path: Path, band: str, grid: RasterGrid, resampling: Resampling = Resampling.bilinear) -> Raster:
    """A file's one band on another grid; not valid where the file has nothing."""
    source = read_grid(path)
    if source.crs is None:
        raise SampleInvalid(str(path), "no CRS", "a georeferenced file")
    values = np.full(grid.shape, np.nan, np.float32)
    if window := _window_of(source, grid):
        raster = read_bands(path, (band,), order=(band,), window=window)
        seen = raster.valid & (raster.values[0] != _NOT_OBSERVED)
        reproject(
            np.where(seen, raster.values[0], np.nan).astype(np.float32),
            values,
            src_transform=raster.grid.transform,
            src_crs=source.crs,
            src_nodata=np.nan,
            dst_transform=grid.transform,
            dst_crs=grid.crs,
            dst_nodata=np.nan,
            resampling=resampling,
        )
    return Raster(path=path, names=(band,), values=values[None], valid=np.isfinite(values), grid=grid)


def _window_of(source: RasterGrid, grid: RasterGrid) -> Window | None:
    """The pixels of a file that a grid needs; None where they do not meet."""
    bounds = transform_bounds(grid.crs, source.crs, *array_bounds(*grid.shape, grid.transform))
    around = from_bounds(*bounds, transform=source.transform).round_offsets(op="floor").round_lengths(op="ceil")
    needed = Window(row=around.row_off, col=around.col_off, height=around.height, width=around.width)
    rows, cols = source.shape
    return needed.grown(_MARGIN_PX).intersection(Window(row=0, col=0, height=rows, width=cols))
