"""One acquisition, as it is frozen into a job: where its bands are and how their numbers become physical units."""

from datetime import datetime
from typing import Literal

from pydantic import Field

from contract.bands import Modality, Unit
from contract.record import Record

Position = tuple[float, float]
"""Longitude, latitude in degrees."""
Ring = tuple[Position, ...]
"""Closed: the last position is the first."""


class Area(Record):
    """A GeoJSON MultiPolygon in longitude and latitude (RFC 7946), cut where it crosses the antimeridian."""

    type: Literal["MultiPolygon"] = "MultiPolygon"
    coordinates: tuple[tuple[Ring, ...], ...]


class Radiometry(Record):
    """How a stored number becomes a physical one: value = stored * scale + offset."""

    unit: Unit
    """Unit of the value after scale and offset."""
    scale: float = 1.0
    offset: float = 0.0
    nodata: float | None = None
    """Stored number of 'no observation'; NaN is a legal one. None: what the file itself says."""
    reason: str
    """Which metadata decided scale and offset, for the report."""


class SceneAsset(Record):
    """One band of a scene."""

    band: str
    """Name of house convention: B02, SCL, VV."""
    href: str
    """Unsigned URL or absolute path."""
    radiometry: Radiometry
    size_bytes: int | None = None
    """Size of the file where the catalogue tells it."""


class Scene(Record):
    """One acquisition over the AOI."""

    id: str
    modality: Modality
    collection: str
    acquired: datetime
    """UTC."""
    platform: str
    footprint: Area
    assets: tuple[SceneAsset, ...] = Field(min_length=1)
    item_href: str | None = None
    """The STAC item itself, for `derived_from` links."""
    signing: Literal["planetary-computer"] | None = None
    """How hrefs become readable; they are signed when opened."""
    baseline: str | None = None
    """Sentinel-2 processing baseline, as "05.10"."""
    mgrs_tile: str | None = None
    cloud_cover_percent: float | None = None
    orbit_direction: Literal["ascending", "descending"] | None = None
    relative_orbit: int | None = None

    def asset(self, band: str) -> SceneAsset | None:
        """The asset of a band, or None where the scene has none."""
        return next((asset for asset in self.assets if asset.band == band), None)


class SkippedScene(Record):
    """A scene that the search returned and the plan left out."""

    id: str
    reason: str
