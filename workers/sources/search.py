"""The scenes of a request: search the source, read its items, keep each observation once."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from pydantic import ValidationError
from shapely import MultiPolygon

from contract.bands import SCL, Modality
from contract.errors import NoScenes
from contract.request import MapRequest
from contract.scene import Scene, SkippedScene
from workers.aoi import geometry_of
from workers.grid import crs_for
from workers.sources.catalogue import Catalogue, FoundItem, Query
from workers.sources.duplicates import Candidate, without_duplicates
from workers.sources.items import Item, platform_name
from workers.sources.profile import mistakes, profile_of
from workers.sources.radiometry import INFERRED
from workers.sources.scenes import Reading, Unfit, footprint


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What the source has for a request."""

    scenes: tuple[Scene, ...]
    """In order of time, each observation once."""
    skipped: tuple[SkippedScene, ...]
    """Scenes that match the request and cannot or need not be used."""
    notices: tuple[str, ...]
    """What the person who asked should know."""


def find_scenes(request: MapRequest, *, bands: Mapping[Modality, tuple[str, ...]]) -> Found:
    """The scenes over the area of a request, of the sensors that both it and `bands` name.

    Every page of the answer is read before this returns. `bands` are those that a scene must have; SCL comes along.

    Raises:
        SourceUnusable: The source is unknown, no STAC, or without a sensor that is asked for.
        SourceUnreachable: It did not answer, also after retries.
        NoScenes: There is nothing to map.
    """
    profile = profile_of(request.source)
    readings = [
        Reading(
            modality=modality,
            sensor=profile.sensor(modality, bands[modality], request.source),
            bands=bands[modality],
            signing=profile.signing,
        )
        for modality in request.options.modalities
        if modality in bands
    ]
    area = geometry_of(request.area)
    catalogue = Catalogue(request.source, profile.catalogue)
    items = catalogue.items([_query(request, area, reading) for reading in readings])
    unfit: list[SkippedScene] = []
    candidates = list(_candidates(items, readings, request, area, unfit))
    scenes, duplicates = without_duplicates(candidates, crs=crs_for(area, request.options.crs))
    skipped = (*sorted(unfit, key=lambda scene: scene.id), *duplicates)
    if not scenes:
        raise NoScenes(request.source, _searched(request, readings, skipped))
    return Found(scenes=scenes, skipped=skipped, notices=tuple(_notices(scenes, readings)))


def _query(request: MapRequest, area: MultiPolygon, reading: Reading) -> Query:
    optical = reading.modality is Modality.S2
    return Query(
        collections=reading.sensor.collections,
        area=area,
        start=request.start,
        end=request.end,
        max_cloud_cover_percent=request.options.max_cloud_cover_percent if optical else None,
    )


def _candidates(
    items: Iterable[FoundItem],
    readings: list[Reading],
    request: MapRequest,
    area: MultiPolygon,
    unfit: list[SkippedScene],
) -> Iterator[Candidate]:
    """The items that match the request, as scenes; those that match and cannot be used go to `unfit`."""
    for found in items:
        name = str(found.content.get("id", found.base))
        try:
            item = Item.model_validate(found.content)
            reading = next((reading for reading in readings if reading.is_of(item)), None)
            if reading is None or not _in_span(item, request):
                continue
            outline = footprint(item)
            part = outline.intersection(area)
            if part.area == 0 or not _wanted(item, reading.modality, request):
                continue
            scene = reading.scene(item, found, outline)
        except ValidationError as error:
            unfit.append(SkippedScene(id=name, reason=f"it is no valid STAC item: {mistakes(error)}"))
        except Unfit as error:
            unfit.append(SkippedScene(id=name, reason=str(error)))
        else:
            yield Candidate(scene=scene, footprint=outline, part=part, processed=item.properties.processed)


def _in_span(item: Item, request: MapRequest) -> bool:
    if item.acquired is None:
        raise Unfit("it has no date")
    return request.start <= item.acquired < request.end


def _wanted(item: Item, modality: Modality, request: MapRequest) -> bool:
    """The item passes the filters of the request. Which way Sentinel-2 flies is no choice: it looks by day."""
    options, cloud = request.options, item.properties.cloud_cover_percent
    if options.platforms and not any(
        (item.platform or "").startswith(platform_name(name)) for name in options.platforms
    ):
        return False
    if modality is Modality.S1:
        return options.orbit_direction in {None, item.orbit_direction}
    if options.max_cloud_cover_percent is None:
        return True
    if cloud is None:
        raise Unfit("its cloud cover is unknown, and the request limits it")
    return cloud <= options.max_cloud_cover_percent


def _notices(scenes: tuple[Scene, ...], readings: list[Reading]) -> Iterator[str]:
    for reading in readings:
        name = reading.modality.label
        of_sensor = [scene for scene in scenes if scene.modality is reading.modality]
        unmasked = [scene for scene in of_sensor if reading.modality is Modality.S2 and scene.asset(SCL) is None]
        inferred = [scene for scene in of_sensor if any(a.radiometry.reason.startswith(INFERRED) for a in scene.assets)]
        if not of_sensor:
            yield f"no {name} scene was found; the map is made without it"
        if unmasked:
            yield f"{len(unmasked)} of {len(of_sensor)} {name} scenes have no scene classification: clouds stay in them"
        if inferred:
            yield (
                f"{len(inferred)} of {len(of_sensor)} {name} scenes do not tell their processing baseline; "
                "their radiometric offset is inferred from the date"
            )


def _searched(request: MapRequest, readings: list[Reading], skipped: tuple[SkippedScene, ...]) -> str:
    """The question, in words."""
    options = request.options
    sensors = " or ".join(f"{r.modality.label} ({', '.join(r.sensor.collections)})" for r in readings)
    west, south, east, north = geometry_of(request.area).bounds
    filters = (
        f"cloud cover to {options.max_cloud_cover_percent:g} %" if options.max_cloud_cover_percent is not None else "",
        f"{options.orbit_direction} passes" if options.orbit_direction else "",
        f"platforms {', '.join(options.platforms)}" if options.platforms else "",
    )
    where = f"within {west:.4f},{south:.4f},{east:.4f},{north:.4f}"
    when = f"from {request.start:%Y-%m-%d %H:%M} to before {request.end:%Y-%m-%d %H:%M} UTC"
    left_out = f"{len(skipped)} left out, as {skipped[0].id}: {skipped[0].reason}" if skipped else ""
    return ", ".join(part for part in (sensors, where, when, *filters, left_out) if part)
