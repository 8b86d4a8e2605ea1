"""The maps of finished jobs as STAC items, searched newest first."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, Final

import shapely
from shapely.geometry import shape
from shapely.geometry.base import BaseGeometry

from contract.errors import JobNotFound
from contract.ledger import SUCCESSES, JobFilter, Ledger
from service.access import Caller
from service.addresses import GEOJSON, JSON, Addresses
from service.intervals import Interval
from service.problems import Refused
from service.stac_records import COLLECTION
from service.storage import ITEM_NAME, Results

_PAGE: Final = 200
"""Jobs that are read at a time."""
_OUTLINES: Final = 50_000
"""Jobs whose place and time is remembered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Criteria:
    """What a map must be to be found."""

    where: BaseGeometry | None
    """It shares ground with this; longitude, latitude. None: anywhere."""
    when: Interval
    """It is of a time in this."""
    ids: tuple[str, ...] | None
    """It is one of these; None: any."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Items that were found."""

    items: tuple[dict[str, Any], ...]
    after: str | None
    """Where the next page begins; None where there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Outline:
    """Where and when a map is of."""

    footprint: BaseGeometry
    start: datetime
    end: datetime


class Catalogue:
    """Items of finished jobs, as they were published, with absolute addresses."""

    def __init__(self, ledger: Ledger, results: Results) -> None:
        self._ledger, self._results = ledger, results
        self._outline = lru_cache(_OUTLINES)(self._read_outline)

    def item(self, job_id: str, urls: Addresses) -> dict[str, Any]:
        """The item of a job, whose addresses are absolute.

        Raises:
            Refused: It was not published, or is not there any more.
        """
        item: dict[str, Any] = json.loads(self._results.read(job_id, ITEM_NAME))
        for asset in item["assets"].values():
            asset["href"] = urls.file(job_id, asset["href"].removeprefix("./"))
        item["collection"] = COLLECTION
        item["links"] = [*_structure(job_id, urls), *(link for link in item["links"] if link["rel"] == "derived_from")]
        return item

    def search(self, criteria: Criteria, caller: Caller, urls: Addresses, *, limit: int, after: str | None) -> Page:
        """The first `limit` of the caller's maps that fit, below the job `after`."""
        found: list[dict[str, Any]] = []
        last = None
        for job_id in self._candidates(criteria, caller, after):
            if not self._fits(job_id, criteria):
                continue
            if len(found) == limit:
                return Page(items=tuple(found), after=last)
            found.append(self.item(job_id, urls))
            last = job_id
        return Page(items=tuple(found), after=None)

    def _candidates(self, criteria: Criteria, caller: Caller, after: str | None) -> Iterator[str]:
        if criteria.ids is not None:
            yield from self._named(criteria.ids, caller, after)
            return
        where = JobFilter(owner=caller.listed_owner, states=SUCCESSES)
        while page := self._ledger.jobs(limit=_PAGE, after=after, where=where):
            yield from (status.job_id for status in page)
            after = page[-1].job_id

    def _named(self, ids: Sequence[str], caller: Caller, after: str | None) -> Iterator[str]:
        known = list(dict.fromkeys(ids))
        for job_id in known[known.index(after) + 1 :] if after in known else known:
            try:
                status = self._ledger.status(job_id)
            except JobNotFound:
                continue
            if caller.sees(status.owner) and status.state in SUCCESSES:
                yield job_id

    def _fits(self, job_id: str, criteria: Criteria) -> bool:
        try:
            outline = self._outline(job_id)
        except Refused:  # removed since
            return False
        if not criteria.when.meets(outline.start, outline.end):
            return False
        return criteria.where is None or bool(shapely.intersects(criteria.where, outline.footprint))

    def _read_outline(self, job_id: str) -> _Outline:
        item = json.loads(self._results.read(job_id, ITEM_NAME))
        properties = item["properties"]
        return _Outline(
            footprint=shape(item["geometry"]),
            start=datetime.fromisoformat(properties["start_datetime"]),
            end=datetime.fromisoformat(properties["end_datetime"]),
        )


def _structure(job_id: str, urls: Addresses) -> Iterator[dict[str, str]]:
    """Links to what is around an item."""
    collection = urls.of(f"/collections/{COLLECTION}")
    yield {"rel": "self", "href": f"{collection}/items/{job_id}", "type": GEOJSON}
    yield {"rel": "root", "href": urls.of("/"), "type": JSON}
    yield {"rel": "parent", "href": collection, "type": JSON}
    yield {"rel": "collection", "href": collection, "type": JSON}
    yield {"rel": "via", "href": urls.job(job_id), "type": JSON, "title": "Job"}
