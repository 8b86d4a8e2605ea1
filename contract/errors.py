"""Every error that someone outside must react to. Programmers' mistakes are ValueErrors.

Each error is a record of what was found: it keeps its fields through pickling, so it survives the trip between
processes, and it words itself in `__str__`, with the value, the limit and the remedy.
"""

from dataclasses import dataclass, fields


class LandsigmaError(Exception):
    """Anything landsigma refuses or could not do."""

    def __post_init__(self) -> None:
        """Hand every field to `Exception.args`, which is what pickling carries."""
        self.args = tuple(getattr(self, field.name) for field in fields(self))  # type: ignore[arg-type]


# --- the installation -----------------------------------------------------------------------------------------------


class InstallationError(LandsigmaError):
    """Something is not installed that a command needs."""


@dataclass(eq=False, repr=False)
class ExtraMissing(InstallationError):
    """A part of landsigma was called whose packages are not installed."""

    module: str
    extra: str
    """As pip takes it."""

    def __str__(self) -> str:
        return f"{self.module} is not installed, which this command needs; run: pip install 'landsigma[{self.extra}]'"


# --- the area of interest -------------------------------------------------------------------------------------------


class AoiError(LandsigmaError):
    """The area of interest cannot be mapped as it was given."""


@dataclass(eq=False, repr=False)
class AoiUnreadable(AoiError):
    """The text or file is in none of the formats that are read."""

    given: str
    reason: str

    def __str__(self) -> str:
        return (
            f"cannot read an area of interest from {self.given!r}: {self.reason}. "
            "Give GeoJSON (file, '-' for standard input, or inline), WKT, a bbox west,south,east,north, "
            "or a GeoPackage, Shapefile or FlatGeobuf file"
        )


@dataclass(eq=False, repr=False)
class AoiEmpty(AoiError):
    """There is no polygon, or its area is zero."""

    given: str

    def __str__(self) -> str:
        return f"the area of interest {self.given!r} encloses no area; give at least one polygon"


@dataclass(eq=False, repr=False)
class AoiInvalid(AoiError):
    """A polygon is broken beyond repair."""

    reason: str
    lon_deg: float
    lat_deg: float

    def __str__(self) -> str:
        return (
            f"the area of interest is not a valid polygon: {self.reason} near lon {self.lon_deg:.6f}, "
            f"lat {self.lat_deg:.6f}; correct the ring there"
        )


@dataclass(eq=False, repr=False)
class AoiTooLarge(AoiError):
    """The area is above the limit for one job."""

    area_km2: float
    limit_km2: float

    def __str__(self) -> str:
        return (
            f"the area of interest covers {self.area_km2:,.1f} km2; one job maps at most {self.limit_km2:,.1f} km2. "
            "Cut it into parts, or raise the limit with --max-area-km2"
        )


@dataclass(eq=False, repr=False)
class AoiAxesSwapped(AoiError):
    """Coordinates read as latitude, longitude instead of longitude, latitude."""

    x: float
    y: float

    def __str__(self) -> str:
        return (
            f"coordinate ({self.x:g}, {self.y:g}) has a latitude outside -90..90: the axes look swapped. "
            "Give longitude first, then latitude"
        )


@dataclass(eq=False, repr=False)
class AoiWrongCrs(AoiError):
    """Coordinates are not longitude and latitude, and no CRS that can be read says what they are."""

    x: float
    y: float
    crs: str

    def __str__(self) -> str:
        return (
            f"coordinate ({self.x:g}, {self.y:g}) is not longitude and latitude in degrees, and the CRS given is "
            f"{self.crs!r}. Reproject to EPSG:4326, or give a file format that carries its CRS"
        )


@dataclass(eq=False, repr=False)
class CrsUnusable(AoiError):
    """The CRS asked for cannot carry a metric grid over the AOI."""

    crs: str
    reason: str

    def __str__(self) -> str:
        return f"cannot map in CRS {self.crs!r}: {self.reason}. Give a projected CRS in metres, such as EPSG:32633"


@dataclass(eq=False, repr=False)
class AoiTooWide(AoiError):
    """The parts of the area lie too far apart for one UTM or UPS zone."""

    width_km: float
    height_km: float
    limit_km: float

    def __str__(self) -> str:
        return (
            f"the area of interest spans {self.width_km:,.0f} x {self.height_km:,.0f} km; one UTM or UPS zone maps at "
            f"most {self.limit_km:,.0f} km either way. Map its parts one by one, or give a CRS made for all of it "
            "with --crs"
        )


# --- sources and scenes ---------------------------------------------------------------------------------------------


class SourceError(LandsigmaError):
    """The imagery asked for cannot be found or used."""


@dataclass(eq=False, repr=False)
class SourceUnusable(SourceError):
    """The source is unknown, badly described, or does not hold what is asked of it."""

    source: str
    reason: str

    def __str__(self) -> str:
        return f"source {self.source!r} cannot be used: {self.reason}"


@dataclass(eq=False, repr=False)
class SourceUnreachable(SourceError):
    """The catalogue did not answer, also after retries."""

    source: str
    url: str
    reason: str

    def __str__(self) -> str:
        return f"source {self.source!r} did not answer at {self.url}: {self.reason}. Try again, or use another --source"


@dataclass(eq=False, repr=False)
class NoScenes(SourceError):
    """The search answered, and there is nothing to map."""

    source: str
    searched: str

    def __str__(self) -> str:
        return (
            f"source {self.source!r} has no scene for {self.searched}. "
            "Widen the dates, raise --max-cloud, or check that the AOI is where you think"
        )


@dataclass(eq=False, repr=False)
class AssetUnreadable(SourceError):
    """One band of one scene could not be read, also after retries."""

    scene: str
    band: str
    reason: str

    def __str__(self) -> str:
        return f"band {self.band} of scene {self.scene} cannot be read: {self.reason}"


# --- bundles --------------------------------------------------------------------------------------------------------


class BundleError(LandsigmaError):
    """The exported model cannot be used."""


@dataclass(eq=False, repr=False)
class BundleNotFound(BundleError):
    """No bundle folder of that name or path."""

    bundle: str
    searched: tuple[str, ...]

    def __str__(self) -> str:
        return f"no bundle {self.bundle!r}: no manifest.json in {', '.join(self.searched)}"


@dataclass(eq=False, repr=False)
class BundleInvalid(BundleError):
    """The manifest, the files and the graph do not agree."""

    bundle: str
    reason: str

    def __str__(self) -> str:
        return f"bundle {self.bundle!r} is refused: {self.reason}"


@dataclass(eq=False, repr=False)
class OutputNotInBundle(BundleError):
    """A product was asked for that this bundle does not give."""

    bundle: str
    output: str
    available: tuple[str, ...]

    def __str__(self) -> str:
        return f"bundle {self.bundle!r} gives no {self.output!r}; it gives {', '.join(self.available)}"


# --- jobs and what they write ---------------------------------------------------------------------------------------


class JobError(LandsigmaError):
    """A job cannot go on, or cannot start."""


@dataclass(eq=False, repr=False)
class JobNotFound(JobError):
    """The ledger has no such job."""

    job_id: str

    def __str__(self) -> str:
        return f"there is no job {self.job_id!r}"


@dataclass(eq=False, repr=False)
class JobFolderInUse(JobError):
    """The output folder is somebody's already."""

    folder: str
    reason: str

    def __str__(self) -> str:
        return f"{self.folder} cannot be used: {self.reason}"


@dataclass(eq=False, repr=False)
class ErrorBudgetExceeded(JobError):
    """Too many pixels lost all observations of a sensor to unreadable assets."""

    lost_fraction: float
    limit_fraction: float
    worst: str

    def __str__(self) -> str:
        return (
            f"unreadable assets left {self.lost_fraction:.1%} of the AOI's pixels without any observation of a sensor; "
            f"the limit is {self.limit_fraction:.1%}. Worst: {self.worst}. Finished blocks are kept: go on with --resume "
            "when it can be read again, or start anew with a higher --max-lost"
        )


@dataclass(eq=False, repr=False)
class JobEnded(JobError):
    """The job was ended by someone else, so there is nothing left to do."""

    job_id: str
    state: str

    def __str__(self) -> str:
        return f"job {self.job_id} is {self.state}; submit it again to map once more"


@dataclass(eq=False, repr=False)
class LedgerUnusable(JobError):
    """The database of jobs cannot be reached or written."""

    ledger: str
    reason: str

    def __str__(self) -> str:
        return f"the ledger {self.ledger} cannot be used: {self.reason}"


@dataclass(eq=False, repr=False)
class LeaseLost(JobError):
    """Another worker took this block over while this one was at it, or the job ended."""

    job_id: str
    index: int

    def __str__(self) -> str:
        return (
            f"block {self.index} of job {self.job_id} was taken over, or the job ended; this worker's result is dropped"
        )


@dataclass(eq=False, repr=False)
class Interrupted(JobError):
    """Someone asked the job to stop; what is finished is kept."""

    remedy: str = "Run the same command with --resume to go on"

    def __str__(self) -> str:
        return f"stopped; finished blocks are kept. {self.remedy}"


@dataclass(eq=False, repr=False)
class OutputNotWritable(JobError):
    """The output folder cannot be written, or its disk is full."""

    path: str
    reason: str

    def __str__(self) -> str:
        return (
            f"cannot write {self.path}: {self.reason}. Nothing half-written was published; make room, then go on with "
            "--resume"
        )


# --- training -------------------------------------------------------------------------------------------------------


class TrainingError(LandsigmaError):
    """A model cannot be trained or evaluated as asked."""


@dataclass(eq=False, repr=False)
class ConfigInvalid(TrainingError):
    """A configuration file cannot be used."""

    path: str
    reason: str

    def __str__(self) -> str:
        return f"configuration {self.path}: {self.reason}"


@dataclass(eq=False, repr=False)
class ArchiveInvalid(TrainingError):
    """A folder does not have the layout of the archive that it is said to be."""

    folder: str
    kind: str
    reason: str

    def __str__(self) -> str:
        return f"{self.folder} is not laid out as {self.kind}: {self.reason}"


@dataclass(eq=False, repr=False)
class SampleUnreadable(TrainingError):
    """A file of a sample is missing, truncated or no raster."""

    path: str
    reason: str

    def __str__(self) -> str:
        return f"cannot read {self.path}: {self.reason}. Fetch it again, or take its sample out of the archive"


@dataclass(eq=False, repr=False)
class SampleInvalid(TrainingError):
    """A file can be read, but its pixels are not what the archive's layout says."""

    path: str
    found: str
    """With values and units."""
    needed: str

    def __str__(self) -> str:
        return f"{self.path}: found {self.found}; need {self.needed}"


@dataclass(eq=False, repr=False)
class PlacesOverlap(TrainingError):
    """Training and evaluation would see the same ground."""

    first: str
    second: str
    reason: str

    def __str__(self) -> str:
        return (
            f"samples {self.first} and {self.second} lie on both sides of a split: {self.reason}. "
            "Split by place, so that figures are of unseen ground"
        )


@dataclass(eq=False, repr=False)
class LossNotFinite(TrainingError):
    """A term of the loss became NaN or infinite; going on would only spoil the weights."""

    term: str
    value: str
    step: int

    def __str__(self) -> str:
        return (
            f"loss term {self.term!r} is {self.value} at step {self.step}; training stopped, and the last checkpoint is "
            "from before. Lower the learning rate or check the input values"
        )


@dataclass(eq=False, repr=False)
class EmbeddingCollapsed(TrainingError):
    """The embedding carries no information any more."""

    measure: str
    value: float
    limit: float
    step: int

    def __str__(self) -> str:
        return (
            f"{self.measure} fell to {self.value:.4f} at step {self.step}, below {self.limit:g}: the embedding has "
            "collapsed. Lower the weight of the KL term or lengthen its warm-up"
        )


@dataclass(eq=False, repr=False)
class TrainingStopped(Interrupted, TrainingError):
    """Someone asked a stage of training to stop."""

    def __str__(self) -> str:
        return f"stopped; the last state on disk stays. {self.remedy}"


@dataclass(eq=False, repr=False)
class CheckpointInvalid(TrainingError):
    """A checkpoint cannot be used for what was asked."""

    path: str
    reason: str

    def __str__(self) -> str:
        return f"checkpoint {self.path}: {self.reason}"
