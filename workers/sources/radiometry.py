"""How the stored numbers of an asset become physical, decided by what its provider wrote."""

from datetime import UTC, datetime
from typing import Final

from contract.bands import (
    SCL,
    SENTINEL2_NODATA,
    SENTINEL2_OFFSET,
    SENTINEL2_OFFSET_BASELINE,
    SENTINEL2_SCALE,
    Unit,
)
from contract.scene import Radiometry
from workers.sources.items import Asset, Encoding, Item

OFFSET_SINCE: Final = datetime(2022, 1, 25, tzinfo=UTC)
"""Baseline 04.00 became operational; earlier acquisitions have the offset only where they were reprocessed."""
INFERRED: Final = "inferred"
"""First word of a reason that is no metadata but a guess."""


def radiometry_of(item: Item, asset: Asset, band: str, unit: Unit) -> Radiometry:
    """How the numbers of one band become values in `unit` (reflectance, or backscatter)."""
    if band == SCL:
        return Radiometry(unit=Unit.SCENE_CLASS, nodata=SENTINEL2_NODATA, reason="class values as stored")
    return _reflectance(item, asset) if unit is Unit.REFLECTANCE else _backscatter(asset, unit)


def _reflectance(item: Item, asset: Asset) -> Radiometry:
    encoding = asset.encoding
    offset, reason = _offset(item, encoding)
    return Radiometry(
        unit=Unit.REFLECTANCE,
        scale=SENTINEL2_SCALE if encoding.scale is None else encoding.scale,
        offset=offset,
        nodata=SENTINEL2_NODATA if encoding.nodata is None else encoding.nodata,
        reason=reason,
    )


def _offset(item: Item, encoding: Encoding) -> tuple[float, str]:
    """Offset as reflectance, and why. The order is that of trust: see each line."""
    if item.properties.boa_offset_applied:
        # Earth Search's sentinel-2-l2a still lists an offset in raster:bands, which its pixels have had already.
        return 0.0, "boa_offset_applied is true: the pixels have had their offset"
    if encoding.scale is not None or encoding.offset is not None:
        return encoding.offset or 0.0, "scale and offset of the asset's metadata"
    if item.baseline is not None:
        carries = tuple(map(int, item.baseline.split("."))) >= SENTINEL2_OFFSET_BASELINE
        return (SENTINEL2_OFFSET if carries else 0.0), f"processing baseline {item.baseline}"
    since = f"{OFFSET_SINCE:%Y-%m-%d}"
    if item.acquired is not None and item.acquired >= OFFSET_SINCE:
        return SENTINEL2_OFFSET, f"{INFERRED}: baseline unknown, acquired since {since}, when the offset came"
    return 0.0, f"{INFERRED}: baseline unknown, acquired before {since}, when the offset came"


def _backscatter(asset: Asset, unit: Unit) -> Radiometry:
    encoding = asset.encoding
    told = encoding.scale is not None or encoding.offset is not None
    return Radiometry(
        unit=unit,
        scale=1.0 if encoding.scale is None else encoding.scale,
        offset=encoding.offset or 0.0,
        nodata=encoding.nodata,
        reason=f"{unit.value} by the source's profile" + (", scale and offset of the asset's metadata" if told else ""),
    )
