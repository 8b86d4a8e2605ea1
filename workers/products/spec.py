"""RasterSpec: how one raster of a job is stored; and the step from values to stored numbers."""

import math
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from contract.bundle import PROBABILITIES, BundleManifest, ModelOutput
from contract.errors import BundleInvalid, OutputNotInBundle
from contract.legend import Legend
from workers.arrays import BoolArray, FloatArray

StoredArray = NDArray[np.uint8] | NDArray[np.uint16] | NDArray[np.float32]
"""What stands in a file, (bands, rows, cols)."""

LANDCOVER: Final = "landcover"
VARIANCE: Final = "variance"
QUALITY: Final = "quality"
QUALITY_NODATA: Final = 255
"""Outside the AOI; so a count of observations ends at 254."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sensors:
    """One value of the third band of the quality raster."""

    value: int
    """Sum of 1 for Sentinel-2 and 2 for Sentinel-1."""
    name: str
    color: str
    """Display colour, #rrggbb."""


# Paul Tol, Colour Schemes (SRON/EPS/TN/09-002 issue 3.2), "bright": told apart by all kinds of colour vision.
SENSORS: Final = (
    Sensors(value=0, name="Neither observed", color="#bbbbbb"),
    Sensors(value=1, name="Sentinel-2 only", color="#ccbb44"),
    Sensors(value=2, name="Sentinel-1 only", color="#4477aa"),
    Sensors(value=3, name="Sentinel-2 and Sentinel-1", color="#228833"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RasterSpec:
    """How one raster is stored: value = stored * scale + offset."""

    name: str
    """File name without extension."""
    dtype: Literal["uint8", "uint16", "float32"]
    nodata: float
    """Stored number of 'no answer'. With whole numbers, the lowest or the highest that the type holds."""
    bands: tuple[str, ...]
    unit: str = ""
    scale: float = 1.0
    offset: float = 0.0
    description: str
    overviews: Literal["AVERAGE", "MODE", "NEAREST"]
    legend: Legend | None = None
    """The classes, where the values are classes."""

    @property
    def shown_range(self) -> tuple[float, float]:
        """Lowest and highest value to draw, in the unit: what can be stored; 0 and 1 for probabilities and float32."""
        if self.name == PROBABILITIES or self.dtype == "float32":
            return 0.0, 1.0
        lowest, highest = (stored * self.scale + self.offset for stored in _legal_range(self.dtype, self.nodata))
        return min(lowest, highest), max(lowest, highest)


def raster_specs(manifest: BundleManifest, outputs: tuple[str, ...]) -> tuple[RasterSpec, ...]:
    """The rasters of a job: land cover, quality, what the bundle always gives, and the outputs asked for.

    Raises:
        OutputNotInBundle: The bundle has no output of that name.
        BundleInvalid: An output takes a name or a nodata value that cannot be stored.
    """
    available = tuple(entry.name for entry in manifest.outputs)
    for name in outputs:
        if name not in available:
            raise OutputNotInBundle(manifest.name, name, available)
    stored = [entry for entry in manifest.outputs if entry.always or entry.name in outputs]
    return (_landcover(manifest), _quality(manifest), *(_of_output(manifest, entry) for entry in stored))


def credit(manifest: BundleManifest) -> str:
    """The model as products name it, with a word of warning where it was not trained."""
    return (
        manifest.title
        if manifest.kind == "trained"
        else f"{manifest.title} ({manifest.kind}: makes no claim of accuracy)"
    )


def encode(values: FloatArray, spec: RasterSpec, missing: BoolArray) -> StoredArray:
    """The stored numbers, (bands, rows, cols): nodata where `missing` or NaN.

    With whole numbers nodata stands nowhere else: values out of range become the nearest number that is not nodata.
    float32 is stored bit for bit, so its nodata must be NaN or a value that the model never gives.

    Args:
        values: (bands, rows, cols) in the raster's unit.
        spec: How to store them.
        missing: (rows, cols), True where there is no answer.
    """
    if spec.dtype == "float32":
        gaps = missing if math.isnan(spec.nodata) else missing | np.isnan(values)
        return np.where(gaps, np.float32(spec.nodata), values)
    # In double precision, so that a tie is where the decimal scale says it is.
    stored = np.rint((values.astype(np.float64) - spec.offset) / spec.scale)
    stored = np.clip(stored, *_legal_range(spec.dtype, spec.nodata))
    stored[np.isnan(values) | missing] = spec.nodata
    return stored.astype(spec.dtype)


def _legal_range(dtype: str, nodata: float) -> tuple[float, float]:
    """Lowest and highest stored number that is not nodata."""
    highest = np.iinfo(dtype).max
    if nodata not in {0, highest}:
        raise ValueError(f"nodata {nodata:g} lies inside the range of {dtype}; need 0 or {highest}")
    return (1, highest) if nodata == 0 else (0, highest - 1)


def _landcover(manifest: BundleManifest) -> RasterSpec:
    legend = manifest.legend
    return RasterSpec(
        name=LANDCOVER,
        dtype="uint8",
        nodata=legend.nodata,
        bands=("class",),
        description=_described(manifest, f"Most probable class of the {legend.name} legend"),
        overviews="MODE",
        legend=legend,
    )


def _quality(manifest: BundleManifest) -> RasterSpec:
    text = "Clear Sentinel-2 observations, Sentinel-1 passes, and sensors observed (1 Sentinel-2, 2 Sentinel-1, 3 both)"
    return RasterSpec(
        name=QUALITY,
        dtype="uint8",
        nodata=QUALITY_NODATA,
        bands=("s2_observations", "s1_observations", "sensors"),
        description=_described(manifest, text),
        overviews="NEAREST",  # counts and bits side by side: an average of bits would be none
    )


def _of_output(manifest: BundleManifest, output: ModelOutput) -> RasterSpec:
    encoding = output.encoding
    if output.name in {LANDCOVER, QUALITY}:
        raise BundleInvalid(manifest.name, f"output {output.name!r} takes the name of a raster that every job writes")
    if encoding.dtype != "float32":
        try:
            _legal_range(encoding.dtype, encoding.nodata)
        except ValueError as error:
            raise BundleInvalid(manifest.name, f"output {output.name!r}: {error}") from error
    return RasterSpec(
        name=output.name,
        dtype=encoding.dtype,
        nodata=encoding.nodata,
        bands=output.bands,
        unit=output.unit,
        scale=encoding.scale,
        offset=encoding.offset,
        description=_described(manifest, output.description or output.name),
        overviews=output.overviews,
    )


def _described(manifest: BundleManifest, text: str) -> str:
    """The text and the model; a file that travels alone still says what stands behind it."""
    return f"{text.rstrip('.')}. Model: {credit(manifest)}."
