"""What is asked for, how far it is, and what came of it."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Final, Literal, Self

from pydantic import AwareDatetime, Field, field_validator, model_validator

from contract.bands import DEFAULT_MASKED_SCENE_CLASSES, Modality, SceneClass
from contract.grid import Grid, Window
from contract.record import Record
from contract.scene import Area, Scene, SkippedScene
from contract.submission import DEFAULT_PRIORITY, LOCAL

DEFAULT_BLOCK_PX: Final = 2048
DEFAULT_MAX_LOST_FRACTION: Final = 0.05


class MapOptions(Record):
    """Choices that have a good default."""

    crs: str | None = None
    """CRS of the product; None for the UTM (or UPS) zone of the AOI."""
    block_px: int = Field(default=DEFAULT_BLOCK_PX, ge=64, le=8192)
    """Height and width of a block: the unit of work, retry and memory. Does not change the map."""
    modalities: tuple[Modality, ...] = (Modality.S2, Modality.S1)
    """Sensors to read; a model branch without one runs as 'not observed'."""
    s2_composite: Literal["median", "first-clear", "mean"] = "median"
    masked_scene_classes: tuple[SceneClass, ...] = DEFAULT_MASKED_SCENE_CLASSES
    """SCL classes left out of the composite; no-data is always left out."""
    max_cloud_cover_percent: float | None = Field(default=None, ge=0, le=100)
    orbit_direction: Literal["ascending", "descending"] | None = None
    platforms: tuple[str, ...] = ()
    """Platforms to use, as "sentinel-2a"; empty for all."""
    outputs: tuple[str, ...] = ()
    """Outputs of the bundle to write beside those it always gives."""
    max_lost_fraction: float = Field(default=DEFAULT_MAX_LOST_FRACTION, ge=0, le=1)
    """Error budget: share of AOI pixels that unreadable assets may leave without any observation of a sensor."""

    @field_validator("modalities")
    @classmethod
    def _at_least_one(cls, modalities: tuple[Modality, ...]) -> tuple[Modality, ...]:
        if not modalities or len(set(modalities)) < len(modalities):
            raise ValueError(f"modalities {[m.value for m in modalities]} must be one or both of s2, s1, once each")
        return modalities


class MapRequest(Record):
    """One job: map this area, from scenes of this span of time, with this model."""

    area: Area
    start: AwareDatetime
    """First instant of the span (UTC)."""
    end: AwareDatetime
    """First instant after the span (UTC): the span is half-open."""
    source: str
    """Name of a built-in source, URL of a STAC API, or path or URL of a catalogue or profile."""
    bundle: str
    """Name or path of a bundle."""
    options: MapOptions = MapOptions()

    @field_validator("start", "end")
    @classmethod
    def _in_utc(cls, instant: datetime) -> datetime:
        return instant.astimezone(UTC)

    @model_validator(mode="after")
    def _span_is_not_empty(self) -> Self:
        if self.start >= self.end:
            raise ValueError(f"the span {self.start:%Y-%m-%d} to {self.end:%Y-%m-%d} is empty; need start < end")
        return self


class JobState(StrEnum):
    """Where a job is. The last four are final."""

    ACCEPTED = "accepted"
    RUNNING = "running"
    SUCCESSFUL = "successful"
    SUCCESSFUL_WITH_GAPS = "successful with gaps"
    """Finished, but some pixels miss observations since assets could not be read."""
    FAILED = "failed"
    DISMISSED = "dismissed"

    @property
    def is_final(self) -> bool:
        """Nothing will change any more."""
        return self not in {JobState.ACCEPTED, JobState.RUNNING}


class JobStatus(Record):
    """How far a job is."""

    job_id: str
    state: JobState
    created: AwareDatetime
    started: AwareDatetime | None = None
    finished: AwareDatetime | None = None
    blocks_done: int = 0
    blocks_total: int | None = None
    """None until the job is planned."""
    message: str = ""
    owner: str = LOCAL
    title: str = ""
    priority: int = DEFAULT_PRIORITY
    run_id: str | None = None
    """The run of a schedule that it belongs to."""
    retries: int = 0
    """Times that a step of it failed and was tried again."""
    lost_leases: int = 0
    """Times that a worker took a step of it and never came back."""

    def remaining_s(self, now: datetime) -> float | None:
        """Seconds until all blocks are done at the pace so far; None while there is no pace, or nothing left to do."""
        if self.started is None or self.finished is not None or not self.blocks_done or self.blocks_total is None:
            return None
        return (now - self.started).total_seconds() * (self.blocks_total - self.blocks_done) / self.blocks_done


class BundleReference(Record):
    """Which model made a map."""

    name: str
    version: str
    kind: Literal["trained", "rules", "identity"]
    sha256: str
    """Of the bundle's manifest.json, which holds the checksums of the rest."""


class Plan(Record):
    """What a job froze before its first block: the same for every worker, whatever the catalogue says later."""

    bundle: BundleReference
    """The model that all blocks must come from."""
    grid: Grid
    scenes: tuple[Scene, ...]
    skipped: tuple[SkippedScene, ...] = ()
    notices: tuple[str, ...] = ()
    """What the person who asked should know, as "no Sentinel-1 scene was found"."""


class LostRead(Record):
    """Pixels of one scene that a block did without, since an asset could not be read."""

    scene: str
    band: str
    reason: str
    pixels: int = Field(ge=0)
    """AOI pixels of the block inside the scene's footprint."""


class BlockReport(Record):
    """What one block saw and wrote."""

    window: Window
    """The pixels of the grid that its rasters cover."""
    attempt: int = Field(ge=1)
    """Number of the claim it was worked under; its rasters lie in a folder of that number."""
    aoi_px: int
    """Pixels of the AOI."""
    mapped_px: int
    """Pixels with a class."""
    affected_px: int
    """AOI pixels that miss at least one observation because an asset could not be read."""
    lost_px: int
    """Those of them that are left without any observation of that sensor."""
    unobserved_px: dict[Modality, int]
    """AOI pixels without a valid observation, for each modality the model eats."""
    class_px: dict[int, int]
    """Pixels for each legend value."""
    lost_reads: tuple[LostRead, ...] = ()
    used_scenes: tuple[str, ...] = ()
    """Scenes that gave at least one pixel."""
    warnings: tuple[str, ...] = ()
    read_s: float
    """Wall time of reading and compositing."""
    inference_s: float
    write_s: float
    provider: str
    """ONNX Runtime execution provider in use."""


class Artifact(Record):
    """A published file."""

    name: str
    """File name in the job's folder."""
    media_type: str
    sha256: str
    size_bytes: int


class ClassArea(Record):
    """How much of the map is of one class."""

    value: int
    name: str
    pixels: int
    area_km2: float
    share: float
    """Of the mapped pixels, 0..1."""


class MapResult(Record):
    """What came of a job. Published as `report.json`."""

    job_id: str
    state: Literal[JobState.SUCCESSFUL, JobState.SUCCESSFUL_WITH_GAPS]
    request: MapRequest
    bundle: BundleReference
    grid: Grid
    aoi_px: int
    mapped_px: int
    affected_px: int
    lost_px: int
    unobserved_px: dict[Modality, int]
    classes: tuple[ClassArea, ...]
    scenes: tuple[Scene, ...]
    """Every scene of the frozen plan, with the radiometry that was applied."""
    used_scenes: tuple[str, ...]
    skipped_scenes: tuple[SkippedScene, ...]
    lost_reads: tuple[LostRead, ...]
    notices: tuple[str, ...]
    """What the search had to say."""
    warnings: tuple[str, ...]
    """What the pixels had to say."""
    blocks: int
    started: AwareDatetime
    finished: AwareDatetime
    timings_s: dict[str, float]
    """Seconds summed over blocks: read, inference, write; and of finish."""
    provider: str
    provider_blocks: dict[str, int] = Field(default_factory=dict)
    """Blocks by execution provider; a fall-back to a lesser one shows here."""
    software: dict[str, str]
    """Package versions."""
    artifacts: tuple[Artifact, ...]
