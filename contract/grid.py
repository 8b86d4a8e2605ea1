"""The pixel grid of a product and rectangles of it."""

from dataclasses import dataclass

from pydantic import Field

from contract.record import Record


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A rectangle of pixels of a grid. May stick out of the grid, with negative offsets."""

    row: int
    """First row, 0 at the grid's top."""
    col: int
    """First column, 0 at the grid's left."""
    height: int
    width: int

    @property
    def stop_row(self) -> int:
        """The row after the last."""
        return self.row + self.height

    @property
    def stop_col(self) -> int:
        """The column after the last."""
        return self.col + self.width

    @property
    def shape(self) -> tuple[int, int]:
        """Rows, columns."""
        return self.height, self.width

    @property
    def size_px(self) -> int:
        """Number of pixels."""
        return self.height * self.width

    def grown(self, margin_px: int) -> "Window":
        """This window with a margin added on every side."""
        return Window(
            row=self.row - margin_px,
            col=self.col - margin_px,
            height=self.height + 2 * margin_px,
            width=self.width + 2 * margin_px,
        )

    def intersection(self, other: "Window") -> "Window | None":
        """The pixels in both windows, or None where they do not meet."""
        row, col = max(self.row, other.row), max(self.col, other.col)
        height = min(self.stop_row, other.stop_row) - row
        width = min(self.stop_col, other.stop_col) - col
        return Window(row=row, col=col, height=height, width=width) if height > 0 and width > 0 else None

    def slices_in(self, outer: "Window") -> tuple[slice, slice]:
        """Row and column slices of this window in an array that covers `outer`."""
        row, col = self.row - outer.row, self.col - outer.col
        return slice(row, row + self.height), slice(col, col + self.width)


class Grid(Record):
    """A north-up raster grid: CRS, origin, pixel size and shape.

    Its origin lies on a multiple of the pixel size, so that every product in the same CRS shares one pixel lattice.
    """

    crs: str
    """Authority code ("EPSG:32633") or WKT of a projected CRS in metres."""
    left_m: float
    """x of the outer edge of the first column."""
    top_m: float
    """y of the outer edge of the first row."""
    resolution_m: float = Field(gt=0)
    height: int = Field(gt=0)
    width: int = Field(gt=0)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows, columns."""
        return self.height, self.width

    @property
    def window(self) -> Window:
        """The whole grid as a window."""
        return Window(row=0, col=0, height=self.height, width=self.width)

    @property
    def lattice_origin(self) -> tuple[int, int]:
        """Row and column of the grid's first pixel on the lattice that all grids of this CRS and resolution share."""
        return -round(self.top_m / self.resolution_m), round(self.left_m / self.resolution_m)

    def area_km2(self, pixels: int) -> float:
        """Area of so many pixels."""
        return pixels * self.resolution_m**2 / 1e6

    def bounds_m(self, window: Window) -> tuple[float, float, float, float]:
        """Left, bottom, right, top of a window's outer edges, in metres of the CRS."""
        left = self.left_m + window.col * self.resolution_m
        top = self.top_m - window.row * self.resolution_m
        return left, top - window.height * self.resolution_m, left + window.width * self.resolution_m, top
