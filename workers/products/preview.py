"""A picture of the map and its variance, for people and for catalogue pages."""

import io
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import matplotlib as mpl
import numpy as np
import rasterio
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.transforms import offset_copy
from numpy.typing import NDArray
from rasterio.enums import Resampling

from contract.grid import Grid
from contract.legend import LandCoverClass
from workers.aoi import geometry_of
from workers.products.files import write_file
from workers.products.product import Product
from workers.products.spec import LANDCOVER, VARIANCE, credit
from workers.products.styles import VARIANCE_COLORS

PREVIEW_NAME: Final = "preview.png"
_KM: Final = 1000
_DPI: Final = 120
_LONGEST_PX: Final = 1000
"""Of a raster as it is read."""
_PANEL_IN: Final = 5.6
_NARROWEST_PANEL_IN: Final = 2.4
_FLATTEST_PANEL_IN: Final = 0.4
_STACKED_FROM: Final = 1.8
"""Width over height from which the panels lie one above the other."""
_MARGIN_IN: Final = 0.25
_HEAD_IN: Final = 0.85
_CAPTION_IN: Final = 0.55
"""Below each panel: scale bar or colour bar."""
_HATCH_COLOR: Final = "#d8d8d8"
_LEGEND_ROW_IN: Final = 0.22
_LEGEND_COLUMN_IN: Final = 2.9

Picture = NDArray[np.float32]
"""Red, green, blue, alpha, (rows, cols, 4), 0..1; transparent where there is no answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layout:
    """Where things stand on the sheet, in inches."""

    panels: int
    stacked: bool
    width: float
    height: float
    """Of each panel."""
    legend_columns: int
    legend_rows: int

    @property
    def sheet(self) -> tuple[float, float]:
        """Width and height."""
        across, down = (1, self.panels) if self.stacked else (self.panels, 1)
        width = across * (self.width + _MARGIN_IN) + _MARGIN_IN
        width = max(width, _LEGEND_COLUMN_IN * self.legend_columns + 2 * _MARGIN_IN)
        return width, _HEAD_IN + down * (self.height + _CAPTION_IN) + _LEGEND_ROW_IN * (self.legend_rows + 1)

    def panel(self, index: int) -> tuple[float, float, float, float]:
        """Left, bottom, width and height of a panel, as shares of the sheet."""
        across, down = (0, index) if self.stacked else (index, 0)
        sheet_width, sheet_height = self.sheet
        left = _MARGIN_IN + across * (self.width + _MARGIN_IN)
        bottom = sheet_height - _HEAD_IN - down * (self.height + _CAPTION_IN) - self.height
        return left / sheet_width, bottom / sheet_height, self.width / sheet_width, self.height / sheet_height


def write_preview(folder: Path, product: Product) -> Path:
    """`preview.png`: land cover and total variance beside each other, read from the finished rasters.

    Raises:
        OutputNotWritable: The disk is full or read-only.
    """
    variance = product.spec(VARIANCE)
    layout = _laid_out(product.grid, panels=1 if variance is None else 2, classes=len(_present(product)))
    sheet = Figure(figsize=layout.sheet, dpi=_DPI)
    _head(sheet, product)
    map_axes = _panel(sheet, layout, 0, _landcover(folder, product), product.grid)
    _scale_bar(map_axes, product.grid)
    _legend(sheet, layout, product)
    if variance is not None:
        _panel(sheet, layout, 1, _variance(folder, product), product.grid)
        _color_bar(sheet, layout, product)
    content = io.BytesIO()
    # Without the version of the drawing library, equal maps give equal bytes.
    sheet.savefig(content, format="png", metadata={"Software": None})
    path = folder / PREVIEW_NAME
    write_file(path, content.getvalue())
    return path


def _present(product: Product) -> list[LandCoverClass]:
    return [entry for entry in product.manifest.legend.classes if product.class_px.get(entry.value, 0)]


def _laid_out(grid: Grid, *, panels: int, classes: int) -> _Layout:
    aspect = grid.width / grid.height
    width, height = (_PANEL_IN, _PANEL_IN / aspect) if aspect >= 1 else (_PANEL_IN * aspect, _PANEL_IN)
    stacked = aspect >= _STACKED_FROM
    if stacked:
        width, height = 2 * _PANEL_IN, 2 * _PANEL_IN / aspect
    width, height = max(width, _NARROWEST_PANEL_IN), max(height, _FLATTEST_PANEL_IN)
    total = width if stacked else panels * (width + _MARGIN_IN)
    columns = max(1, math.floor(total / _LEGEND_COLUMN_IN))
    rows = math.ceil((classes + 1) / columns)
    return _Layout(panels=panels, stacked=stacked, width=width, height=height, legend_columns=columns, legend_rows=rows)


def _landcover(folder: Path, product: Product) -> Picture:
    classes = _decimated(folder / f"{LANDCOVER}.tif", Resampling.mode)
    picture = np.zeros((*classes.shape, 4), np.float32)
    for entry in product.manifest.legend.classes:
        picture[classes == entry.value] = (*to_rgb(entry.color), 1)
    return picture


def _variance(folder: Path, product: Product) -> Picture:
    total = _decimated(folder / f"{VARIANCE}.tif", Resampling.average)
    colors = mpl.colormaps[VARIANCE_COLORS](total / product.highest_variance)
    colors[np.ma.getmaskarray(total)] = 0
    return np.asarray(colors, np.float32)


def _decimated(path: Path, resampling: Resampling) -> "np.ma.MaskedArray[tuple[int, int], np.dtype[np.float64]]":
    """The first band in its unit, small, from the overview that is next larger."""
    with rasterio.open(path) as raster:
        shrink = max(1.0, max(raster.shape) / _LONGEST_PX)
        shape = tuple(max(1, round(length / shrink)) for length in raster.shape)
        stored = raster.read(1, out_shape=shape, resampling=resampling, masked=True)
        return np.ma.masked_invalid(stored.astype(np.float64) * raster.scales[0] + raster.offsets[0])


def _head(sheet: Figure, product: Product) -> None:
    middle = geometry_of(product.area).representative_point()
    place = f"{abs(middle.y):.3f}°{'N' if middle.y >= 0 else 'S'} {abs(middle.x):.3f}°{'E' if middle.x >= 0 else 'W'}"
    dates = f"{product.start:%Y-%m-%d} to {product.last_instant:%Y-%m-%d}"
    width, height = sheet.get_size_inches()
    left = _MARGIN_IN / width
    sheet.text(left, 1 - 0.18 / height, f"Land cover at {place}", fontsize=11, weight="bold", va="top")
    sheet.text(left, 1 - 0.38 / height, dates, fontsize=8, va="top")
    sheet.text(left, 1 - 0.55 / height, f"Model: {credit(product.manifest)}", fontsize=8, va="top")


def _panel(sheet: Figure, layout: _Layout, index: int, picture: Picture, grid: Grid) -> Axes:
    """One raster, north up, over a hatched ground that shows where there is no answer."""
    axes = sheet.add_axes(layout.panel(index))
    axes.patch.set(facecolor="white", edgecolor=_HATCH_COLOR, hatch="////")
    # 'equal' by metres, not by pixels of the shrunken picture, whose sides are rounded.
    axes.imshow(picture, extent=(0, grid.width, 0, grid.height), interpolation="nearest", aspect="equal")
    axes.set(xticks=[], yticks=[])
    return axes


def _scale_bar(axes: Axes, grid: Grid) -> None:
    """A bar of a round length below the map."""
    length_m = _round_length(grid.width * grid.resolution_m / 2)
    share = length_m / (grid.width * grid.resolution_m)
    label = f"{length_m / _KM:g} km" if length_m >= _KM else f"{length_m:g} m"
    below = offset_copy(axes.transAxes, fig=axes.get_figure(root=True), y=-8, units="points")
    axes.plot([0, share], [0, 0], color="black", lw=2.5, transform=below, clip_on=False, solid_capstyle="butt")
    axes.text(0, 0, f"\n{label}", fontsize=7, va="top", linespacing=0.7, transform=below)


def _round_length(longest_m: float) -> float:
    """The greatest of 1, 2, 5 times a power of ten up to `longest_m`."""
    power = 10.0 ** math.floor(math.log10(longest_m))
    return max(step * power for step in (1, 2, 5) if step * power <= longest_m)


def _color_bar(sheet: Figure, layout: _Layout, product: Product) -> None:
    left, bottom, width, _ = layout.panel(1)
    height = layout.sheet[1]
    bar = sheet.add_axes((left, bottom - 0.2 / height, width, 0.1 / height))
    colors = ScalarMappable(Normalize(0, product.highest_variance), VARIANCE_COLORS)
    sheet.colorbar(colors, cax=bar, orientation="horizontal")
    bar.tick_params(labelsize=7, pad=1, length=2)
    bar.set_xlabel("total variance (0: certain)", fontsize=7, labelpad=1)


def _legend(sheet: Figure, layout: _Layout, product: Product) -> None:
    """The classes that occur, with their share of the mapped pixels."""
    handles = [
        Patch(
            facecolor=entry.color, edgecolor="#888888", lw=0.5, label=f"{entry.name}  {product.share(entry.value):.1%}"
        )
        for entry in _present(product)
    ]
    handles.append(Patch(facecolor="white", edgecolor=_HATCH_COLOR, hatch="////", label="no answer"))
    left = _MARGIN_IN / layout.sheet[0]
    sheet.legend(
        handles=handles,
        loc="lower left",
        bbox_to_anchor=(left, 0),
        ncols=layout.legend_columns,
        fontsize=8,
        frameon=False,
        borderaxespad=0.3,
        borderpad=0,
    )
