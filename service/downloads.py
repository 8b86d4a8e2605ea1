"""What a job published, fetched into a folder: resumed where it broke off, and checked."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx
from pydantic import BaseModel, ConfigDict, ValidationError

from contract.errors import DownloadDamaged, OutputNotWritable
from contract.request import Artifact
from service.client import Client

REPORT_NAME: Final = "report.json"
"""Names every other file but these, with its checksum."""
DOCUMENTS: Final = ("collection.json", "item.json", REPORT_NAME)
"""Written when all that they name is there, the report last."""
ATTEMPTS: Final = 2
"""A file that came damaged is fetched from its start once more."""


class _Report(BaseModel):
    """Of a job's report, what is fetched."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    artifacts: tuple[Artifact, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """How far a download is."""

    name: str
    """Of the file."""
    done_bytes: int
    """Of all files."""
    total_bytes: int


def fetch(client: Client, job_id: str, folder: Path, seen: Callable[[Fetched], None]) -> tuple[Path, ...]:
    """Everything that a job published, in `folder`. What is there already, and is the same, stays.

    Raises:
        DownloadDamaged: A file is not what the report says, also at the second time.
        OutputNotWritable: The folder cannot be written.
        ServerRefused, ServerUnreachable: See `Client`.
    """
    artifacts = _artifacts(client.read(job_id, REPORT_NAME))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        done, total = 0, sum(artifact.size_bytes for artifact in artifacts)
        for artifact in artifacts:

            def grown(size: int, *, name: str = artifact.name, before: int = done) -> None:
                seen(Fetched(name=name, done_bytes=before + size, total_bytes=total))

            _Download(client=client, job_id=job_id, artifact=artifact, folder=folder, grown=grown).run()
            done += artifact.size_bytes
        for name in DOCUMENTS:
            _write(folder / name, client.read(job_id, name))
    except OSError as error:
        raise OutputNotWritable(path=str(folder), reason=str(error)) from error
    return tuple(folder / name for name in (*(artifact.name for artifact in artifacts), *DOCUMENTS))


def _artifacts(report: bytes) -> tuple[Artifact, ...]:
    try:
        artifacts = _Report.model_validate_json(report).artifacts
    except ValidationError as error:
        raise DownloadDamaged(REPORT_NAME, str(error)) from error
    for artifact in artifacts:
        # A server is not to choose where on this machine it writes.
        if Path(artifact.name).name != artifact.name or artifact.name.startswith(".") or not artifact.name:
            raise DownloadDamaged(REPORT_NAME, f"{artifact.name!r} is no file name")
    return artifacts


@dataclass(frozen=True, slots=True, kw_only=True)
class _Download:
    """One file on its way."""

    client: Client
    job_id: str
    artifact: Artifact
    folder: Path
    grown: Callable[[int], None]
    """Told how many bytes are there."""

    @property
    def part(self) -> Path:
        """Where bytes are gathered. Named for its content: what is left of another version is not gone on with."""
        return self.folder / f".{self.artifact.name}.{self.artifact.sha256[:16]}.part"

    def run(self) -> None:
        """Give the file its name once it is whole.

        Raises:
            DownloadDamaged: It is not what the report says.
        """
        target, size = self.folder / self.artifact.name, self.artifact.size_bytes
        if not (target.is_file() and _sha256(target) == self.artifact.sha256):
            self._gather()
            self.part.replace(target)
        self.grown(size)

    def _gather(self) -> None:
        for _ in range(ATTEMPTS):
            self.part.touch()
            while self.part.stat().st_size < self.artifact.size_bytes:
                self.client.insist(self._more)
            if _sha256(self.part) == self.artifact.sha256:
                return
            self.part.unlink()
        raise DownloadDamaged(self.artifact.name, f"its sha256 is not {self.artifact.sha256}")

    def _more(self) -> None:
        """Append what comes through one connection.

        Raises:
            httpx.TransportError: Nothing came. One that breaks later is no failure: the rest comes through another.
        """
        size = self.part.stat().st_size
        with self.client.stream(self.job_id, self.artifact.name, size) as answer:
            goes_on = answer.status_code == httpx.codes.PARTIAL_CONTENT
            size = size if goes_on else 0
            with self.part.open("ab" if goes_on else "wb") as file:
                try:
                    for chunk in answer.iter_raw():
                        size += file.write(chunk)
                        self.grown(size)
                except httpx.TransportError:
                    if not size:
                        raise


def _write(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_bytes(content)
    temporary.replace(path)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
