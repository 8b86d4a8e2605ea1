"""Every error that someone outside must react to. Programmers' mistakes are ValueErrors.

Each error is a record of what was found: it keeps its fields through pickling, so it survives the trip between
processes, and it words itself in `__str__`, with the value, the limit and the remedy. Those of areas, sources and jobs reach
people at a terminal and people behind an API alike, so they name no option of a command; `landsigma map` adds its own.
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


@dataclass(eq=False, repr=False)
class SettingInvalid(InstallationError):
    """A setting cannot be used, or there is no such setting."""

    variable: str
    value: str
    """Never a secret."""
    needed: str

    def __str__(self) -> str:
        return f"{self.variable} is {self.value!r}; need {self.needed}"


@dataclass(eq=False, repr=False)
class RedisMissing(InstallationError):
    """A server was to start its own Redis, and there is none on this machine."""

    def __str__(self) -> str:
        return (
            "there is no redis-server on the PATH; install Redis, or run: pip install 'landsigma[embedded]', "
            "or set LANDSIGMA_BROKER_URL to one that runs"
        )


@dataclass(eq=False, repr=False)
class DataFolderInUse(InstallationError):
    """Another server runs on this data folder."""

    path: str
    process: str
    """Id of the one that runs."""

    def __str__(self) -> str:
        return f"a server runs on {self.path} already, as process {self.process}; stop it, or choose another --data"


@dataclass(eq=False, repr=False)
class AddressUnusable(InstallationError):
    """A server cannot listen where it was told to."""

    host: str
    port: int
    reason: str

    def __str__(self) -> str:
        return (
            f"cannot listen on {self.host}, port {self.port}: {self.reason}; choose another --port, 0 for any free one"
        )


@dataclass(eq=False, repr=False)
class ServerPartFailed(InstallationError):
    """A process that a server consists of does not come up, or does not stay up."""

    part: str
    found: str

    def __str__(self) -> str:
        return f"the server's {self.part} {self.found}; its own words are above, or in the log of its data folder"


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
            "Cut it into parts, or raise the limit"
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
            f"most {self.limit_km:,.0f} km either way. Map its parts one by one, or give a CRS made for all of it"
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
        return f"source {self.source!r} did not answer at {self.url}: {self.reason}. Try again, or use another source"


@dataclass(eq=False, repr=False)
class NoScenes(SourceError):
    """The search answered, and there is nothing to map."""

    source: str
    searched: str

    def __str__(self) -> str:
        return (
            f"source {self.source!r} has no scene for {self.searched}. "
            "Widen the dates, allow more clouds, or check that the AOI is where you think"
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


@dataclass(eq=False, repr=False)
class BundleExists(BundleError):
    """A bundle is to be written where something lies already."""

    folder: str

    def __str__(self) -> str:
        return f"{self.folder} exists; a bundle is written whole: choose another --out, or remove that folder first"


@dataclass(eq=False, repr=False)
class EvaluationUnfit(BundleError):
    """An evaluation is not of the model that is to be bundled, or not of unseen ground."""

    folder: str
    reason: str

    def __str__(self) -> str:
        return f"the evaluation in {self.folder} cannot go into the bundle: {self.reason}. Run landsigma evaluate again"


@dataclass(eq=False, repr=False)
class EngineNotBuilt(BundleError):
    """TensorRT refuses the graph, or cannot build an engine from it here."""

    graph: str
    reason: str

    def __str__(self) -> str:
        return f"TensorRT builds no engine from {self.graph}: {self.reason}"


@dataclass(eq=False, repr=False)
class ParityFailed(BundleError):
    """An exported graph does not say what its model says."""

    provider: str
    """What ONNX Runtime computed with."""
    case: str
    """What the chips were like."""
    output: str
    measure: str
    """"mean" or "maximum" error."""
    value: float
    limit: float

    def __str__(self) -> str:
        return (
            f"the graph is not the model: with {self.provider}, the {self.measure} error of {self.output!r} is "
            f"{self.value:.3g} on chips with {self.case}, and the limit is {self.limit:g}. Nothing was written; export in "
            "higher precision, or report it with the versions of torch and ONNX Runtime"
        )


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
            f"the limit is {self.limit_fraction:.1%}. Worst: {self.worst}. Try again when it can be read again, or start "
            "anew with a higher limit"
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
    """Another worker took this step over while this one was at it, or it is done, or the job ended."""

    job_id: str
    step: str
    """As "block 7"."""

    def __str__(self) -> str:
        return f"{self.step} of job {self.job_id} is no longer this worker's, or the job ended; its result is dropped"


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
        return f"cannot write {self.path}: {self.reason}. Nothing half-written was published; make room, then try again"


@dataclass(eq=False, repr=False)
class IdempotencyConflict(JobError):
    """An idempotency key came again, with another request."""

    key: str
    job_id: str

    def __str__(self) -> str:
        return (
            f"idempotency key {self.key!r} belongs to job {self.job_id}, whose request differs from this one; "
            "repeat that request, or choose a new key"
        )


@dataclass(eq=False, repr=False)
class LimitReached(JobError):
    """One owner asks for more than it may."""

    what: str
    """What is counted, as "jobs at once"."""
    value: int
    limit: int
    retry_after_s: float
    position: int
    """Where in the queue the job would have come, from 1."""

    def __str__(self) -> str:
        return (
            f"{self.value} {self.what}; the limit is {self.limit}. Try again in {self.retry_after_s:.0f} s; "
            f"the job would have been number {self.position} in the queue"
        )


# --- schedules ------------------------------------------------------------------------------------------------------


class ScheduleError(LandsigmaError):
    """A schedule cannot do what is asked of it."""


@dataclass(eq=False, repr=False)
class ScheduleNotFound(ScheduleError):
    """There is no such schedule, or it was deleted."""

    schedule_id: str

    def __str__(self) -> str:
        return f"there is no schedule {self.schedule_id!r}"


@dataclass(eq=False, repr=False)
class RunNotFound(ScheduleError):
    """No schedule has such a run."""

    run_id: str

    def __str__(self) -> str:
        return f"there is no run {self.run_id!r}"


# --- keys -----------------------------------------------------------------------------------------------------------


class AccessError(LandsigmaError):
    """Someone may not do what they ask for."""


@dataclass(eq=False, repr=False)
class KeyNotFound(AccessError):
    """There is no API key of that id."""

    key_id: str

    def __str__(self) -> str:
        return f"there is no key {self.key_id!r}"


@dataclass(eq=False, repr=False)
class KeyRefused(AccessError):
    """The API key that was presented opens nothing."""

    reason: str

    def __str__(self) -> str:
        return f"the API key {self.reason}"


@dataclass(eq=False, repr=False)
class KeysNeeded(AccessError):
    """A server would be open to other machines, and nobody has a key."""

    host: str

    def __str__(self) -> str:
        return (
            f"there is no valid API key, so the server cannot listen on {self.host}, where other machines reach it. "
            "Make one first with: landsigma keys create NAME. Or listen on 127.0.0.1"
        )


# --- a server, seen from outside -------------------------------------------------------------------------------------


class RemoteError(LandsigmaError):
    """A server did not do what it was asked for."""


@dataclass(eq=False, repr=False)
class ServerUnreachable(RemoteError):
    """Nobody answers at the address."""

    address: str
    reason: str

    def __str__(self) -> str:
        return (
            f"no answer from {self.address}: {self.reason}; start one with `landsigma serve`, or give --server or "
            "LANDSIGMA_SERVER"
        )


@dataclass(eq=False, repr=False)
class ServerRefused(RemoteError):
    """The server answered that it does not do this."""

    status: int
    """Of HTTP."""
    detail: str
    """In the server's words."""

    def __str__(self) -> str:
        return f"the server refuses ({self.status}): {self.detail}"


@dataclass(eq=False, repr=False)
class JobUnsuccessful(RemoteError):
    """A job ended without a map."""

    job_id: str
    state: str
    reason: str

    def __str__(self) -> str:
        return f"job {self.job_id} is {self.state}: {self.reason}"


@dataclass(eq=False, repr=False)
class DownloadDamaged(RemoteError):
    """What came over the network is not what the server published."""

    name: str
    reason: str

    def __str__(self) -> str:
        return f"{self.name} came damaged: {self.reason}; fetch it again"


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
