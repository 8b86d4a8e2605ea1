"""What the API works with, opened together and closed together."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from contract.callbacks import CallbackStore
from contract.database import Database
from contract.dispatch import Dispatch
from contract.keys import KeyStore
from contract.ledger import Ledger
from contract.schedule_store import ScheduleStore
from contract.settings import Settings
from service.access import Access
from service.addresses import Addresses
from service.callbacks import Courier, client
from service.catalogue import Catalogue
from service.keys import KeyAccess, check_address
from service.sender import CelerySender, NoSender, Sender
from service.shelves import SHIPPED, Shelves
from service.signing import Signer, signer_of
from service.storage import Results
from service.submissions import Submissions

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What the API works with."""

    settings: Settings
    database: Database
    ledger: Ledger
    dispatch: Dispatch
    schedules: ScheduleStore
    access: Access
    signer: Signer
    """Of links."""
    shelves: Shelves
    results: Results
    catalogue: Catalogue
    sender: Sender
    submissions: Submissions


async def parts_of(request: Request) -> Parts:
    """What the application that was asked works with."""
    parts: Parts = request.app.state.parts
    return parts


InUse = Annotated[Parts, Depends(parts_of)]


@contextmanager
def opened(settings: Settings) -> Iterator[Parts]:
    """The parts that these settings ask for.

    Raises:
        LedgerUnusable: The database cannot be reached or written.
        KeysNeeded: The server would listen beyond this machine, and no key opens anything.
    """
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    sender: Sender = NoSender() if settings.broker_url is None else CelerySender(settings)
    with Database.open(settings.database_url.get_secret_value()) as database:
        ledger, keys = Ledger(database), KeyStore(database)
        notice = check_address(settings, keys)
        if notice is not None:
            _logger.warning(notice)
        results = Results(settings.storage_url, ledger)
        submissions = Submissions(database, sender)
        root = settings.public_url or f"http://{settings.host}:{settings.port}"
        courier = Courier(CallbackStore(database), ledger, results, Addresses(root), client())
        sender.start()
        submissions.start()
        courier.start(settings.sweep_s)
        try:
            yield Parts(
                settings=settings,
                database=database,
                ledger=ledger,
                dispatch=Dispatch(database),
                schedules=ScheduleStore(database),
                access=KeyAccess(keys=keys, limits=settings.limits),
                signer=signer_of(settings),
                shelves=Shelves((*settings.bundle_dirs, SHIPPED)),
                results=results,
                catalogue=Catalogue(ledger, results),
                sender=sender,
                submissions=submissions,
            )
        finally:
            courier.stop()
            submissions.stop()
            sender.stop()
