"""Where things are, as absolute URLs."""

from dataclasses import dataclass
from typing import Annotated
from urllib.parse import quote, urlencode

from fastapi import Depends, Request
from pydantic import Field

from service.message import Message

JSON = "application/json"
GEOJSON = "application/geo+json"
HTML = "text/html"
OPENAPI = "application/vnd.oai.openapi+json;version=3.0"
RELATION = "http://www.opengis.net/def/rel/ogc/1.0/"


class Link(Message):
    """A link to another resource."""

    href: str
    rel: str
    type: str | None = None
    """Media type of what is there."""
    title: str | None = None
    method: str | None = None
    """HTTP method, where it is not GET (STAC API)."""
    body: dict[str, object] | None = Field(default=None)
    """What to send there (STAC API)."""


@dataclass(frozen=True, slots=True)
class Addresses:
    """The URLs of one server as its callers reach it."""

    root: str
    """Without a slash at the end."""

    def of(self, path: str, **query: str | int | None) -> str:
        """The URL of a path that starts with a slash, with those parts of the query that are not None."""
        known = {name: value for name, value in query.items() if value is not None}
        return f"{self.root}{path}{f'?{urlencode(known)}' if known else ''}"

    def job(self, job_id: str) -> str:
        """Status of a job."""
        return f"{self.root}/jobs/{quote(job_id)}"

    def file(self, job_id: str, name: str) -> str:
        """A file that a job published."""
        return f"{self.job(job_id)}/files/{quote(name)}"


async def addresses(request: Request) -> Addresses:
    """The URLs as this request's sender reaches them: below `public_url`, else below the host that they asked."""
    public = request.app.state.parts.settings.public_url
    return Addresses((public or str(request.base_url)).rstrip("/"))


Urls = Annotated[Addresses, Depends(addresses)]
