"""The process as it describes itself (18-062r2, processDescription)."""

from typing import Any, Literal

from pydantic import ConfigDict, Field
from pydantic.alias_generators import to_camel

from contract.bundle import BundleManifest
from service.addresses import JSON, RELATION, Addresses, Link
from service.execution import PROCESS_ID, Inputs
from service.message import Message

COG = "image/tiff; application=geotiff; profile=cloud-optimized"
_TITLES = {
    "area": "Area of interest",
    "start": "Start",
    "end": "End",
    "source": "Source of scenes",
    "bundle": "Model",
    "options": "Options",
    "title": "Title",
    "priority": "Priority",
    "queue": "Kind of worker",
}
_OUTPUTS = {
    "landcover": ("Land cover", "Class of each pixel; 0 where there is no answer.", COG),
    "variance": ("Variance", "Total, aleatoric and embedding variance of the one-hot label.", COG),
    "quality": ("Quality", "Clear Sentinel-2 observations, Sentinel-1 passes, sensors seen.", COG),
    "preview": ("Preview", "Map and variance side by side.", "image/png"),
    "report": ("Report", "Scenes, pixels lost, areas, timings, versions, checksums.", JSON),
    "item": ("STAC item", "Describes the map, with links to every scene used.", "application/geo+json"),
    "collection": ("STAC collection", "The collection around the item.", JSON),
}
_EXTRA = "Raster of a bundle's further output; ask for it in `outputs`."


class _Camel(Message):
    model_config = ConfigDict(alias_generator=to_camel)


class ProcessSummary(_Camel):
    """What a process is."""

    id: str
    title: str
    description: str
    version: str
    keywords: tuple[str, ...]
    job_control_options: tuple[Literal["async-execute", "dismiss"], ...]
    """Maps take minutes to days: execution is asynchronous only."""
    output_transmission: tuple[Literal["reference"], ...]
    links: tuple[Link, ...]


class InputDescription(_Camel):
    """An input."""

    title: str
    description: str = ""
    min_occurs: int
    max_occurs: int = 1
    json_schema: dict[str, Any] = Field(alias="schema")
    """JSON schema of its value."""


class OutputDescription(_Camel):
    """An output."""

    title: str
    description: str
    json_schema: dict[str, Any] = Field(alias="schema")


class ProcessDescription(ProcessSummary):
    """What a process eats and gives."""

    inputs: dict[str, InputDescription]
    outputs: dict[str, OutputDescription]


class ProcessList(Message):
    """The processes of this server."""

    processes: tuple[ProcessSummary, ...]
    links: tuple[Link, ...]


def summary(version: str, urls: Addresses) -> ProcessSummary:
    """The process in short."""
    own = urls.of(f"/processes/{PROCESS_ID}")
    return ProcessSummary(
        id=PROCESS_ID,
        title="Land cover with per-pixel uncertainty",
        description=(
            "Maps the land cover of an area and a span of time from Sentinel-1 and Sentinel-2, with the variance of each "
            "pixel in three parts, as Cloud-Optimized GeoTIFFs with STAC metadata."
        ),
        version=version,
        keywords=("land cover", "uncertainty", "sentinel-1", "sentinel-2"),
        job_control_options=("async-execute", "dismiss"),
        output_transmission=("reference",),
        links=(
            Link(href=own, rel="self", type=JSON),
            Link(href=f"{own}/execution", rel=f"{RELATION}execute", type=JSON, title="Submit a job"),
            Link(href=f"{own}/estimate", rel="estimate", type=JSON, title="What a job would cost"),
        ),
    )


def description(
    version: str, urls: Addresses, sources: tuple[str, ...], bundles: dict[str, BundleManifest]
) -> ProcessDescription:
    """The process with its inputs and outputs, naming the sources and bundles that this server has."""
    further = {
        entry.name: (entry.name, f"{entry.description} {_EXTRA}".strip(), COG)
        for manifest in bundles.values()
        for entry in manifest.outputs
        if not entry.always and entry.name not in _OUTPUTS
    }
    choices = {"source": sources, "bundle": tuple(sorted(bundles))}
    return ProcessDescription(
        **dict(summary(version, urls)),
        inputs={name: _input(name, choices.get(name, ())) for name in Inputs.model_fields},
        outputs={name: _output(*parts) for name, parts in (_OUTPUTS | further).items()},
    )


def _input(name: str, choices: tuple[str, ...]) -> InputDescription:
    field, schema = Inputs.model_fields[name], _schema_of(name)
    if choices:
        schema["enum"] = list(choices)
    return InputDescription(
        title=_TITLES[name],
        description=schema.pop("description", ""),
        min_occurs=int(field.is_required()),
        json_schema=schema,
    )


def _schema_of(name: str) -> dict[str, Any]:
    """The schema of one input, whole in itself."""
    schema = Inputs.model_json_schema()
    own: dict[str, Any] = schema["properties"][name]
    own.pop("title", None)
    return own | ({"$defs": schema["$defs"]} if "$ref" in str(own) else {})


def _output(title: str, text: str, media_type: str) -> OutputDescription:
    schema: dict[str, Any] = {"type": "object", "contentMediaType": media_type}
    if media_type == COG or media_type.startswith("image/"):
        schema = {"type": "string", "contentEncoding": "binary", "contentMediaType": media_type}
    return OutputDescription(title=title, description=text, json_schema=schema)
