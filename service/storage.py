"""What finished jobs have published, in a folder or in a bucket: read only."""

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, ObjectStore, from_url

from contract.errors import OutputNotWritable
from contract.ledger import Ledger
from contract.request import JobStatus, MapResult
from service.problems import OGC, Refused

ITEM_NAME: Final = "item.json"
REPORT_NAME: Final = "report.json"
COLLECTION_NAME: Final = "collection.json"
CHUNK_BYTES: Final = 1 << 20
_TYPES: Final = {
    ITEM_NAME: "application/geo+json",
    COLLECTION_NAME: "application/json",
    REPORT_NAME: "application/json",
}
_OUTPUTS: Final = {".tif", ".json", ".png"}
_CACHED: Final = 4096
"""Jobs whose list of files is remembered: GDAL asks for many ranges of one file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What a job published. It never changes."""

    owner: str
    types: dict[str, str]
    """Media type of each file, by name."""

    @property
    def outputs(self) -> dict[str, str]:
        """File of each output: rasters and the like go by their name alone, their companions by the whole file name."""
        return {Path(name).stem if Path(name).suffix in _OUTPUTS else name: name for name in self.types}


@dataclass(frozen=True, slots=True, kw_only=True)
class Blob:
    """A file as it lies there."""

    path: str
    size_bytes: int
    etag: str
    """Strong, in quotes."""
    changed: float
    """Seconds since 1970."""


class Results:
    """Published files, by job and name. A name is never taken from a request: it is one that the job's report lists."""

    def __init__(self, storage_url: str, ledger: Ledger) -> None:
        self._store = _store(storage_url)
        self._folder = None if "://" in storage_url else Path(storage_url).resolve()
        self._ledger = ledger
        self.published = lru_cache(_CACHED)(self._published)

    def answers(self) -> bool:
        """The place can be read."""
        try:
            obstore.list_with_delimiter(self._store)
        except (BaseError, OSError):
            return False
        return True

    def blob(self, job_id: str, name: str) -> Blob:
        """Size and tag of a published file.

        Raises:
            Refused: It is not there any more.
            StorageUnusable: It cannot be read.
        """
        path = self._path(job_id, name)
        with _asking(path):
            meta = obstore.head(self._store, path)
        etag = (meta["e_tag"] or f'"{meta["last_modified"].timestamp()}-{meta["size"]}"').removeprefix("W/")
        return Blob(path=path, size_bytes=meta["size"], etag=etag, changed=meta["last_modified"].timestamp())

    def read(self, job_id: str, name: str) -> bytes:
        """A whole small file.

        Raises:
            Refused: It is not there any more.
            StorageUnusable: It cannot be read.
        """
        path = self._path(job_id, name)
        with _asking(path):
            return bytes(obstore.get(self._store, path).bytes())

    async def stream(self, blob: Blob, start: int, stop: int) -> AsyncIterator[bytes]:
        """The bytes from `start` up to `stop`, in parts."""
        found = await obstore.get_async(self._store, blob.path, options={"range": (start, stop)})
        async for part in found.stream(min_chunk_size=CHUNK_BYTES):
            yield bytes(part)

    def _published(self, job_id: str) -> Published:
        job = self._ledger.job(job_id)
        if job.result is None:
            raise NotReady(job.status)
        return Published(owner=job.status.owner, types=_types_of(job.result))

    def _path(self, job_id: str, name: str) -> str:
        """Where a file is. Of a link in a folder, only where it stays inside."""
        if self._folder is not None and not (self._folder / job_id / name).resolve().is_relative_to(self._folder):
            raise _gone(name)
        return f"{job_id}/{name}"


class StorageUnusable(OutputNotWritable):
    """The place of results cannot be read."""

    def __str__(self) -> str:
        return (
            f"cannot read {self.path}: {self.reason}. Check that the place of results is there and may be read: "
            "LANDSIGMA_STORAGE_URL and, of a bucket, AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID and the like"
        )


class NotReady(Refused):
    """A job has no results, or none yet."""

    def __init__(self, job: JobStatus) -> None:
        self.owner = job.owner
        job_id, state, message = job.job_id, job.state, job.message
        if state.is_final:
            detail = f"job {job_id} is {state.value} and has no results{f': {message}' if message else ''}"
            super().__init__(404, detail, kind="no-results", value=state.value)
        else:
            detail = f"job {job_id} is {state.value}; its results are there once it is successful"
            super().__init__(404, detail, kind=f"{OGC}result-not-ready", value=state.value)


def _types_of(result: MapResult) -> dict[str, str]:
    return {artifact.name: artifact.media_type for artifact in result.artifacts} | _TYPES


def _store(storage_url: str) -> ObjectStore:
    if "://" in storage_url:
        return from_url(storage_url)
    return LocalStore(storage_url, mkdir=True)


@contextmanager
def _asking(path: str) -> Iterator[None]:
    """Refusals of the place of results in words of ours.

    Raises:
        Refused: What was asked for is not there any more.
        StorageUnusable: It cannot be read.
    """
    try:
        yield
    except FileNotFoundError:
        raise _gone(path.rpartition("/")[2]) from None
    except (BaseError, OSError) as error:
        raise StorageUnusable(path, " ".join(str(error).split())) from error


def _gone(name: str) -> Refused:
    return Refused(404, f"{name} is not there any more", kind="file-gone", field="path.name", value=name)
