"""From a STAC item to a scene, or to the reason why it cannot be one."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import shapely
from shapely import MultiPolygon
from shapely.geometry import shape

from contract.bands import SCL, Modality, Unit
from contract.errors import AoiInvalid
from contract.scene import Scene, SceneAsset
from workers.aoi import area_of
from workers.lonlat import cut, polygons_in, unwrapped
from workers.sources.catalogue import FoundItem
from workers.sources.hrefs import absolute
from workers.sources.items import Asset, Item
from workers.sources.profile import RadarProfile, SensorProfile
from workers.sources.radiometry import radiometry_of
from workers.sources.signing import Signing

RADAR_MODE: Final = "IW"
RADAR_GEOMETRY: Final = {"GRD", "SLC", "RAW", "OCN"}
"""Product types of ESA's. The Planetary Computer calls its terrain-corrected items GRD too, after what they came from;
only those are on a map projection."""


class Unfit(Exception):  # noqa: N818  named for what was found
    """The item cannot be mapped; says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How the items of one sensor become scenes."""

    modality: Modality
    sensor: SensorProfile
    bands: tuple[str, ...]
    """Every scene must have these; SCL comes along where there is one."""
    signing: Signing

    def is_of(self, item: Item) -> bool:
        """The item is of this sensor: by its collection, or by its platform where it is in none."""
        if item.collection is not None:
            return item.collection in self.sensor.collections
        return (item.platform or "").startswith("sentinel-" + self.modality.value[1])

    def scene(self, item: Item, found: FoundItem, outline: MultiPolygon) -> Scene:
        """An item with its footprint as a scene.

        Raises:
            Unfit: With the reason.
        """
        if item.acquired is None:
            raise Unfit("it has no date")
        if self.modality is Modality.S1:
            _check_radar(item, self.bands)
        return Scene(
            id=item.id,
            modality=self.modality,
            collection=item.collection or "",
            acquired=item.acquired,
            platform=item.platform or f"sentinel-{self.modality.value[1]}",
            footprint=area_of(outline),
            assets=tuple(self._assets(item, found.base)),
            item_href=found.href and absolute(found.href, found.base),
            signing=self.signing,
            baseline=item.baseline if self.modality is Modality.S2 else None,
            mgrs_tile=item.mgrs_tile,
            cloud_cover_percent=item.properties.cloud_cover_percent,
            orbit_direction=item.orbit_direction,
            relative_orbit=item.relative_orbit,
        )

    def _assets(self, item: Item, base: str) -> Iterator[SceneAsset]:
        unit = self.sensor.unit if isinstance(self.sensor, RadarProfile) else Unit.REFLECTANCE
        for band in self.bands:
            key = self.sensor.assets[band]
            if key not in item.assets:
                raise Unfit(f"it has no asset {key!r} for band {band}")
            yield _scene_asset(item, item.assets[key], band, unit, base)
        scene_classes = item.assets.get(self.sensor.assets.get(SCL, ""))
        if scene_classes is not None:
            yield _scene_asset(item, scene_classes, SCL, unit, base)


def footprint(item: Item) -> MultiPolygon:
    """Where the item has data: longitude and latitude, valid, cut at the antimeridian.

    Raises:
        Unfit: It has no usable geometry.
    """
    try:
        parts = [unwrapped(part) for part in polygons_in(shapely.force_2d(shape(_geometry(item))))]
        pieces = [cut(piece) for part in parts for piece in polygons_in(shapely.make_valid(part))]
    except (ValueError, TypeError, KeyError, shapely.errors.GEOSException, AoiInvalid) as error:
        raise Unfit(f"its geometry cannot be read: {error}") from error
    whole = MultiPolygon(polygons_in(shapely.unary_union(pieces)))
    if whole.is_empty:
        raise Unfit("its geometry encloses nothing")
    return whole


def _geometry(item: Item) -> dict[str, Any]:
    if item.geometry is None:
        raise Unfit("it has no geometry")
    return item.geometry


def _scene_asset(item: Item, asset: Asset, band: str, unit: Unit, base: str) -> SceneAsset:
    return SceneAsset(
        band=band,
        href=absolute(asset.href, base),
        radiometry=radiometry_of(item, asset, band, unit),
        size_bytes=asset.size_bytes,
    )


def _check_radar(item: Item, bands: Sequence[str]) -> None:
    properties = item.properties
    if properties.radar_product in RADAR_GEOMETRY and (properties.epsg or "4326").endswith("4326"):
        raise Unfit(f"it is {properties.radar_product}, which is not terrain-corrected")
    if properties.radar_mode not in {None, RADAR_MODE}:
        raise Unfit(f"its mode is {properties.radar_mode}; only {RADAR_MODE} is used")
    missing = set(bands) - {name.upper() for name in properties.polarisations or bands}
    if missing:
        raise Unfit(f"it has no polarisation {', '.join(sorted(missing))}")
