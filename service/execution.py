"""What is sent to have a map made, and what becomes of it: a request, and terms."""

from datetime import UTC, date, datetime
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import AwareDatetime, BeforeValidator, ConfigDict, Discriminator, Field, Tag, WithJsonSchema

from contract.bands import Modality
from contract.request import MapOptions, MapRequest
from contract.settings import Settings
from contract.submission import DEFAULT_PRIORITY, Callbacks, Priority, Queue, Terms
from service.access import Caller
from service.areas import GivenArea, MeasuredArea, measured
from service.message import Message
from service.problems import Refused
from service.shelves import Shelves

PROCESS_ID: Final = "land-cover"
PRODUCTS: Final = ("landcover", "variance", "quality", "preview", "report", "item", "collection")
"""Outputs of every job. Further ones are the bundle's."""
EXAMPLE: Final[dict[str, Any]] = {
    "inputs": {
        "area": {"bbox": [11.52, 46.61, 11.72, 46.71]},
        "start": "2024-06-01",
        "end": "2024-09-01",
        "source": "planetary-computer",
        "bundle": "spectral-rules",
    }
}
EXAMPLE_IN_FULL: Final[dict[str, Any]] = {
    "inputs": {
        "area": {
            "value": {
                "type": "Polygon",
                "coordinates": [[[11.52, 46.61], [11.72, 46.61], [11.72, 46.71], [11.52, 46.61]]],
            },
            "mediaType": "application/geo+json",
        },
        "start": "2024-06-01T00:00:00Z",
        "end": "2024-09-01T00:00:00Z",
        "source": "planetary-computer",
        "bundle": "spectral-rules",
        "options": {"modalities": ["s2", "s1"], "max_cloud_cover_percent": 60.0},
        "title": "Villnoess, summer 2024",
        "priority": 5,
    },
    "outputs": {"landcover": {"transmissionMode": "reference"}, "probabilities": {}},
    "response": "document",
}
_DATE_CHARACTERS: Final = 10


def _instant(given: object) -> datetime:
    """RFC 3339, or a date for its first instant in UTC."""
    if not isinstance(given, str):
        raise ValueError('text is needed, such as "2024-06-01" or "2024-06-01T00:00:00Z"')  # noqa: TRY004  pydantic's
    if len(given) == _DATE_CHARACTERS:
        day = date.fromisoformat(given)
        return datetime(day.year, day.month, day.day, tzinfo=UTC)
    instant = datetime.fromisoformat(given)
    if instant.tzinfo is None:
        raise ValueError("a time zone is needed, such as Z for UTC")
    try:
        return instant.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("the year must be 1 to 9999 in UTC") from error


Instant = Annotated[
    AwareDatetime,
    BeforeValidator(_instant),
    WithJsonSchema({"type": "string", "anyOf": [{"format": "date"}, {"format": "date-time"}]}),
]


class JobOptions(MapOptions):
    """Choices that have a good default."""

    crs: Annotated[str, Field(pattern=r"^(EPSG|ESRI):[0-9]{4,6}$")] | None = None
    """CRS of the product by its code alone: other ways to write one may name files. None for the AOI's UTM zone."""

    modalities: Annotated[
        tuple[Modality, ...], Field(min_length=1, max_length=2, json_schema_extra={"uniqueItems": True})
    ] = (Modality.S2, Modality.S1)
    """Sensors to read; a model branch without one runs as 'not observed'."""


class QualifiedOptions(Message):
    """The same, as OGC API - Processes wants objects to be given."""

    value: JobOptions
    media_type: Literal["application/json"] = Field(default="application/json", alias="mediaType")


def _form(given: object) -> str:
    """Which of the two forms it is meant to be, so that a refusal speaks of that one alone."""
    wrapped = isinstance(given, QualifiedOptions) or (isinstance(given, dict) and "value" in given)
    return "value" if wrapped else "options"


GivenOptions = Annotated[
    Annotated[JobOptions, Tag("options")] | Annotated[QualifiedOptions, Tag("value")], Discriminator(_form)
]


class Inputs(Message):
    """What to map, from what and with what."""

    area: GivenArea
    """GeoJSON polygons in longitude and latitude, or a bounding box."""
    start: Instant
    """First instant of the span: RFC 3339, or a date (UTC)."""
    end: Instant
    """First instant after the span: it is half-open."""
    source: str
    """Name of a source of this server."""
    bundle: str
    """Name of a bundle of this server; see /bundles."""
    options: GivenOptions = JobOptions()
    title: str = Field(default="", max_length=200)
    """For people."""
    priority: Priority = DEFAULT_PRIORITY
    """0 is the most urgent."""
    queue: Literal[Queue.BLOCKS_CPU, Queue.BLOCKS_GPU] | None = None
    """Kind of worker; the server's choice where it is left out."""


class WantedOutput(Message):
    """How an output is to be delivered."""

    transmission_mode: Literal["reference"] = Field(default="reference", alias="transmissionMode")
    """Results are links; `Prefer: return=representation` gets values from the results resource."""


class Subscriber(Message):
    """Addresses to be told: https, on hosts that the server allows."""

    success_uri: str | None = Field(default=None, alias="successUri")
    in_progress_uri: str | None = Field(default=None, alias="inProgressUri")
    failed_uri: str | None = Field(default=None, alias="failedUri")


class Execution(Message):
    """A request for a map (OGC API - Processes, "execute")."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE, EXAMPLE_IN_FULL]})

    inputs: Inputs
    outputs: dict[str, WantedOutput] = Field(default_factory=dict)
    """Outputs to make beside those that every job makes."""
    response: Literal["document"] = "document"
    """Results come as one document; single outputs as they are, below it."""
    subscriber: Subscriber | None = None


class Rules(Message):
    """What a server lets its callers ask for."""

    sources: tuple[str, ...]
    callback_hosts: tuple[str, ...]
    blocks_queue: Queue

    @classmethod
    def of(cls, settings: Settings) -> "Rules":
        """Those of a server with these settings."""
        return cls(
            sources=tuple(settings.sources),
            callback_hosts=settings.callback_hosts,
            blocks_queue=settings.blocks_queue,
        )


def area_of(execution: Execution, caller: Caller) -> MeasuredArea:
    """The area that is asked for.

    Raises:
        AoiError: It cannot be mapped.
        Refused: It is larger than the caller's limit.
    """
    return measured(execution.inputs.area, limit_km2=caller.limits.area_km2)


def request_of(execution: Execution, area: MeasuredArea, shelves: Shelves, rules: Rules) -> MapRequest:
    """What to map.

    Raises:
        Refused: The span is empty, or there is no such source, bundle or output.
    """
    inputs = execution.inputs
    if inputs.start >= inputs.end:
        detail = f"the span {inputs.start:%Y-%m-%d %H:%M} to {inputs.end:%Y-%m-%d %H:%M} is empty; need start < end"
        raise Refused(422, detail, kind="span-empty", field="inputs.end", value=inputs.end.isoformat())
    if inputs.source not in rules.sources:
        names = ", ".join(rules.sources)
        detail = f"there is no source {inputs.source!r}; this server reads {names}. Addresses are not read"
        raise Refused(422, detail, kind="source-unknown", field="inputs.source", value=inputs.source, limit=names)
    return MapRequest(
        area=area.record(),
        start=inputs.start,
        end=inputs.end,
        source=inputs.source,
        bundle=inputs.bundle,
        options=_options(execution, shelves),
    )


def terms_of(execution: Execution, caller: Caller, rules: Rules, idempotency_key: str | None) -> Terms:
    """Who asks, and how the job is to be treated.

    Raises:
        Refused: A callback goes to a host that is not allowed.
    """
    inputs, subscriber = execution.inputs, execution.subscriber or Subscriber()
    for name, uri in subscriber.model_dump(by_alias=True, exclude_none=True).items():
        _check_callback(f"subscriber.{name}", uri, rules.callback_hosts)
    return Terms(
        owner=caller.owner,
        title=inputs.title,
        priority=inputs.priority,
        blocks_queue=inputs.queue or rules.blocks_queue,
        idempotency_key=idempotency_key,
        callbacks=Callbacks.model_validate(subscriber.model_dump()),
    )


def _options(execution: Execution, shelves: Shelves) -> MapOptions:
    """The options, with the outputs that are asked for in OGC's place."""
    given = execution.inputs.options
    options = given.value if isinstance(given, QualifiedOptions) else given
    manifest = shelves.find(execution.inputs.bundle, "inputs.bundle", 422).manifest
    known = {entry.name: entry.always for entry in manifest.outputs}
    wanted = dict.fromkeys((*options.outputs, *execution.outputs))
    for name in wanted:
        if name not in known and name not in PRODUCTS:
            names = ", ".join(dict.fromkeys((*PRODUCTS, *known)))
            detail = f"bundle {manifest.name!r} gives no {name!r}; there are {names}"
            raise Refused(422, detail, kind="output-not-in-bundle", field="outputs", value=name, limit=names)
    extra = tuple(name for name in wanted if name not in PRODUCTS and not known[name])
    return MapOptions.model_validate(options.model_dump() | {"outputs": extra})


def _check_callback(field: str, uri: str, hosts: tuple[str, ...]) -> None:
    parts = urlsplit(uri)
    try:
        fits = parts.scheme == "https" and parts.hostname in hosts and parts.port in {None, 443}
    except ValueError:  # a port that is no number
        fits = False
    if not fits or parts.username is not None:
        allowed = ", ".join(hosts) or "none"
        detail = f"{uri!r} is not called: callbacks go by https to hosts that the server allows; these are: {allowed}"
        raise Refused(422, detail, kind="callback-refused", field=field, value=uri, limit=allowed)
