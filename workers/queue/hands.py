"""Hands: what one process works queued steps with, made when it takes its first one."""

import os
import random
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from uuid import uuid4

from celery import Celery

from contract.database import Database
from contract.dispatch import Dispatch
from contract.ledger import Ledger
from contract.settings import Settings
from workers.block import OpenJob, open_job
from workers.providers import engine_folder
from workers.queue.lease import Flag
from workers.queue.sender import Sender
from workers.reading import SceneReader
from workers.storage import open_storage
from workers.worker import Worker

SCRATCH: Final = "scratch"
"""Folder, in the data folder, of what a worker needs of jobs whose results go to a bucket."""
SHIPPED: Final = Path(__file__).resolve().parents[2] / "deploy" / "models"
"""The shelf of bundles that comes with landsigma."""


@dataclass(slots=True, kw_only=True)
class Hands:
    """Ledger, messages, folders and loaded models of one process."""

    settings: Settings
    database: Database
    ledger: Ledger
    sender: Sender
    worker: Worker
    leaving: Flag
    """Set when this process is asked to end."""
    chance: random.Random = field(default_factory=random.Random)
    """Spreads the waits before second tries."""
    _open: OpenJob | None = None

    def job(self, job_id: str) -> OpenJob:
        """A planned job with its model loaded; most blocks in a row are of one job.

        Raises:
            BundleError: The bundle is missing, or is not the one that the job was planned with.
        """
        if self._open is None or self._open.id != job_id:
            self._open = open_job(self.worker, job_id)
        return self._open


def open_hands(settings: Settings, app: Celery, threads: int, leaving: Flag) -> Hands:
    """Hands of this process. Not to be made before a fork: neither a database nor a model survives one."""
    database = Database.open(settings.database_url.get_secret_value())
    ledger = Ledger(database)
    worker = Worker(
        name=process_name(),
        ledger=ledger,
        folder_of=open_storage(settings.storage_url, scratch=settings.data_dir / SCRATCH),
        shelves=(*settings.bundle_dirs, SHIPPED),
        reader=SceneReader(),
        lease_s=settings.lease_s,
        sources=settings.sources,
        threads=threads,
        engines=engine_folder(),
    )
    sender = Sender(app, ledger, Dispatch(database), settings)
    return Hands(settings=settings, database=database, ledger=ledger, sender=sender, worker=worker, leaving=leaving)


def process_name() -> str:
    """A name that no other process has, nor ever had: a restarted one must not take over what its former self left."""
    return f"{socket.gethostname()}:{os.getpid()}:{uuid4().hex[:8]}"


HandsOf = Callable[[], Hands]
"""Gives the hands of the process that calls it."""
