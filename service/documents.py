"""Results of a finished job as one document."""

from collections.abc import Mapping
from typing import Any, Final

from pydantic import ConfigDict, Field, RootModel

from service.addresses import Addresses
from service.message import Message
from service.storage import Published


class OutputLink(Message):
    """An output, by reference."""

    href: str
    type: str
    """Media type."""
    title: str


class OutputValue(Message):
    """An output, by value."""

    value: Any
    """JSON as it is, the rest in base64."""
    media_type: str = Field(alias="mediaType")
    encoding: str | None = None
    """"base64", or missing."""


class ResultsDocument(RootModel[dict[str, OutputLink | OutputValue]]):
    """Every output of a job, by name."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "landcover": {
                        "href": "https://maps.example.org/jobs/3f0c2a9be1f64d0f9d0f4f3a3a4b6c11/files/landcover.tif",
                        "type": "image/tiff; application=geotiff; profile=cloud-optimized",
                        "title": "landcover.tif",
                    }
                }
            ]
        }
    )


_NOTHING: Final[Mapping[str, OutputValue]] = {}


def document_of(
    published: Published, job_id: str, urls: Addresses, inline: Mapping[str, OutputValue] = _NOTHING
) -> ResultsDocument:
    """Every output as a link, but those of the files in `inline` as these values."""
    return ResultsDocument(
        {
            output: inline.get(name) or _link(name, published.types[name], job_id, urls)
            for output, name in published.outputs.items()
        }
    )


def _link(name: str, media_type: str, job_id: str, urls: Addresses) -> OutputLink:
    return OutputLink(href=urls.file(job_id, name), type=media_type, title=name)
