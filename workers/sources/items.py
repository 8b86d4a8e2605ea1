"""What is read of a STAC item, in the spellings of the providers."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal

from pydantic import AliasChoices, ConfigDict, Field, field_validator

from contract.record import Record

TEST_BASELINE: Final = 99
"""Sen2Cor runs outside ESA call their baseline 99.99, which says nothing about the numbers."""

# Copernicus SentiWiki, "S2 Products", naming convention; the Planetary Computer's ids leave the baseline out.
_PRODUCT: Final = re.compile(r"S2[A-Z]_MSIL2A_\d{8}T\d{6}(?:_N(\d{2})(\d{2}))?_R(\d{3})_T(\d{2}[A-Z]{3})")
_TILE: Final = re.compile(r"(?:MGRS-|T)?(\d{1,2})([A-Z]{3})")
_PLATFORM: Final = re.compile(r"s(?:entinel)?-?([12])-?([a-z])?")


class _Part(Record):
    """Part of an item; what is not read of it is ignored."""

    model_config = ConfigDict(extra="ignore", coerce_numbers_to_str=True)


class Encoding(_Part):
    """How numbers are stored; None where the item does not say."""

    scale: float | None = Field(None, validation_alias=AliasChoices("scale", "raster:scale"))
    offset: float | None = Field(None, validation_alias=AliasChoices("offset", "raster:offset"))
    nodata: float | None = None


class Asset(Encoding):
    """One file of an item."""

    href: str
    size_bytes: int | None = Field(None, validation_alias="file:size")
    bands: tuple[Encoding, ...] | None = Field(None, validation_alias=AliasChoices("raster:bands", "bands"))

    @property
    def encoding(self) -> Encoding:
        """Of the first band (raster extension 1), or where that says nothing of the asset (STAC 1.1)."""
        band = self.bands[0] if self.bands else Encoding()
        return Encoding(
            scale=self.scale if band.scale is None else band.scale,
            offset=self.offset if band.offset is None else band.offset,
            nodata=self.nodata if band.nodata is None else band.nodata,
        )


class Properties(_Part):
    """The properties that decide something."""

    taken: datetime | None = Field(None, validation_alias="datetime")
    begun: datetime | None = Field(None, validation_alias="start_datetime")
    processed: datetime | None = Field(
        None,
        validation_alias=AliasChoices(
            "s2:generation_time", "s1:processing_datetime", "processing:datetime", "created", "updated"
        ),
    )
    platform: str | None = None
    cloud_cover_percent: float | None = Field(None, validation_alias="eo:cloud_cover")
    orbit_state: str | None = Field(None, validation_alias="sat:orbit_state")
    relative_orbit: int | None = Field(None, validation_alias="sat:relative_orbit")
    baseline: str | None = Field(
        None,
        validation_alias=AliasChoices("s2:processing_baseline", "sentinel:processing_baseline", "processing:version"),
    )
    boa_offset_applied: bool | None = Field(
        None, validation_alias=AliasChoices("earthsearch:boa_offset_applied", "sentinel:boa_offset_applied")
    )
    product: str | None = Field(None, validation_alias=AliasChoices("s2:product_uri", "sentinel:product_id"))
    tile: str | None = Field(None, validation_alias=AliasChoices("s2:mgrs_tile", "grid:code", "sentinel:mgrs"))
    utm_zone: str | None = Field(None, validation_alias=AliasChoices("mgrs:utm_zone", "sentinel:utm_zone"))
    latitude_band: str | None = Field(
        None, validation_alias=AliasChoices("mgrs:latitude_band", "sentinel:latitude_band")
    )
    grid_square: str | None = Field(None, validation_alias=AliasChoices("mgrs:grid_square", "sentinel:grid_square"))
    epsg: str | None = Field(None, validation_alias=AliasChoices("proj:code", "proj:epsg"))
    radar_mode: str | None = Field(None, validation_alias="sar:instrument_mode")
    radar_product: str | None = Field(None, validation_alias="sar:product_type")
    polarisations: tuple[str, ...] | None = Field(None, validation_alias="sar:polarizations")

    @field_validator("taken", "begun", "processed")
    @classmethod
    def _in_utc(cls, instant: datetime | None) -> datetime | None:
        """Instants without a zone, against the specification, are taken to be UTC as everyone else's are."""
        if instant is None:
            return None
        return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)


class Item(_Part):
    """A STAC item, as far as it is read."""

    id: str
    collection: str | None = None
    geometry: dict[str, Any] | None = None
    properties: Properties
    assets: dict[str, Asset]

    @property
    def acquired(self) -> datetime | None:
        """When it was taken, or where that is a span began to be."""
        return self.properties.taken or self.properties.begun

    @property
    def platform(self) -> str | None:
        """As "sentinel-2a", or "sentinel-2" where the item does not say which."""
        return platform_name(self.properties.platform) if self.properties.platform else None

    @property
    def product(self) -> "Product":
        """What the name of its product says."""
        for name in (self.properties.product or "", self.id):
            if match := _PRODUCT.search(name):
                major, minor, orbit, tile = match.groups()
                return Product(baseline=f"{major}.{minor}" if major else None, relative_orbit=int(orbit), tile=tile)
        return Product()

    @property
    def baseline(self) -> str | None:
        """Processing baseline as "05.10"; None where unknown or not ESA's."""
        given = (self.properties.baseline or self.product.baseline or "").split(".")
        if len(given) != 2 or not all(part.isdecimal() for part in given) or int(given[0]) == TEST_BASELINE:  # noqa: PLR2004  major and minor
            return None
        return f"{given[0].zfill(2)}.{given[1].ljust(2, '0')}"

    @property
    def relative_orbit(self) -> int | None:
        """Number of the orbit in its cycle."""
        return self.properties.relative_orbit or self.product.relative_orbit

    @property
    def orbit_direction(self) -> Literal["ascending", "descending"] | None:
        """Of the platform, not of the orbit's node."""
        state = (self.properties.orbit_state or "").lower()
        return "ascending" if state == "ascending" else "descending" if state == "descending" else None

    @property
    def mgrs_tile(self) -> str | None:
        """As "33TWL"."""
        parts = (self.properties.utm_zone, self.properties.latitude_band, self.properties.grid_square)
        spelled = self.properties.tile or ("".join(part for part in parts if part) if all(parts) else "")
        match = _TILE.fullmatch(spelled)
        return f"{match[1].zfill(2)}{match[2]}" if match else self.product.tile


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """What the name of a Sentinel-2 product says; empty for any other name."""

    baseline: str | None = None
    relative_orbit: int | None = None
    tile: str | None = None


def platform_name(spelled: str) -> str:
    """The platform as "sentinel-2a", however it is spelled: "Sentinel-2A", "SENTINEL-2A", "s2a"."""
    plain = re.sub(r"[\s_]+", "-", spelled.strip().lower())
    match = _PLATFORM.fullmatch(plain)
    return f"sentinel-{match[1]}{match[2] or ''}" if match else plain
