"""Where jobs are kept: a folder that all workers see, or a bucket.

obstore for buckets: one wheel around the Rust `object_store` that needs no botocore and no event loop, and whose stores for
memory and folders behave alike.
"""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import obstore
from obstore.exceptions import BaseError
from obstore.store import ObjectStore, from_url

from contract.errors import OutputNotWritable
from workers.folder import JobFolder, item_last, writing_to

FolderOf = Callable[[str], JobFolder]
"""The folder of a job id."""


def open_storage(url: str, *, scratch: Path) -> FolderOf:
    """Gives the folder of each job, below a folder or a bucket; `scratch` is local, for what is on its way to a bucket.

    Who may use a bucket is told by the environment, in the words of AWS: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY,
    AWS_REGION, AWS_ENDPOINT_URL and, for an endpoint without TLS, AWS_ALLOW_HTTP=true.
    """
    if "://" not in url:
        return lambda job_id: JobFolder(Path(url) / job_id)
    store = from_url(url)
    return lambda job_id: BucketFolder(root=scratch / job_id, store=store)


@dataclass(frozen=True, slots=True, kw_only=True)
class BucketFolder(JobFolder):
    """A job's folder in a bucket. `root` holds what this machine is at; it may go at any time."""

    store: ObjectStore
    """The bucket, from the prefix on that all jobs share."""

    def keep_block(self, index: int, attempt: int) -> None:
        """Move a written block to the bucket.

        Raises:
            OutputNotWritable: The bucket does not take it.
        """
        folder = self.block(index, attempt)
        for path in folder.iterdir():
            self._put(path, self._key(path))
        shutil.rmtree(folder)

    def kept_block(self, index: int, attempt: int) -> Path:
        """A local copy of the rasters of the attempt that finished a block.

        Raises:
            OutputNotWritable: They cannot be read back, or there is no room for them here.
        """
        folder = self.block(index, attempt)
        with writing_to(folder):
            folder.mkdir(parents=True, exist_ok=True)
        for key in self._keys(folder):
            with _asking(key), writing_to(folder), (folder / Path(key).name).open("wb") as file:
                for part in obstore.get(self.store, key):
                    file.write(part)
        return folder

    def publish(self, attempt: int) -> None:
        """Put what is staged into the bucket, the STAC item last of all.

        Raises:
            OutputNotWritable: The bucket does not take it.
        """
        for path in item_last(self.staging(attempt)):
            self._put(path, f"{self.root.name}/{path.name}")

    def clean(self) -> None:
        """Remove the work folder, and everything that is here."""
        self._remove(self.work)

    def discard(self) -> None:
        """Remove everything of a job that nobody will go on with."""
        self._remove(self.root)

    def _key(self, path: Path) -> str:
        return path.relative_to(self.root.parent).as_posix()

    def _keys(self, folder: Path) -> list[str]:
        key = self._key(folder)
        with _asking(key):
            return [entry["path"] for entries in obstore.list(self.store, prefix=key) for entry in entries]

    def _put(self, path: Path, key: str) -> None:
        with _asking(key):
            obstore.put(self.store, key, path)  # in parts where it is large; complete or absent

    def _remove(self, folder: Path) -> None:
        keys = self._keys(folder)
        with _asking(self._key(folder)):
            obstore.delete(self.store, keys)
        shutil.rmtree(self.root, ignore_errors=True)


@contextmanager
def _asking(key: str) -> Iterator[None]:
    """Refusals of a bucket as those of a disk.

    Raises:
        OutputNotWritable: It did not answer, also after retries, or refused.
    """
    try:
        yield
    except BaseError as error:
        raise OutputNotWritable(key, " ".join(str(error).split())) from error
