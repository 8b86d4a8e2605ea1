"""A file server that fails when it is told to."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Message, Receive, Scope, Send

from tests.servers import running

STALL_S = 30.0
Fault = int | Literal["truncated", "stalled", "dropped"]
"""A status, half of the bytes announced, silence, or a closed connection."""


@dataclass
class FaultyFiles:
    """A web application that serves a folder."""

    folder: Path
    faults: list[Fault | None] = field(default_factory=list)
    """What happens to each request to come; None, and whatever comes after the last, is answered well."""
    requests: list[str] = field(default_factory=list)
    """Method and path of every request."""
    refused_query: str = "none"
    """A query that is answered with 403."""
    address: str = ""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.requests.append(f"{scope['method']} {scope['path']}")
        fault = self.faults.pop(0) if self.faults else None
        if scope["query_string"].decode() == self.refused_query:
            fault = 403
        if isinstance(fault, int):
            await Response(status_code=fault)(scope, receive, send)
            return
        if fault == "dropped":
            raise ConnectionError
        if fault == "stalled":
            await asyncio.sleep(STALL_S)
        await StaticFiles(directory=self.folder)(scope, receive, _half(send) if fault == "truncated" else send)


@contextmanager
def faulty_server(folder: Path) -> Iterator[FaultyFiles]:
    """A folder served on a free port of this machine."""
    files = FaultyFiles(folder)
    with running(files) as files.address:
        yield files


def _half(send: Send) -> Send:
    async def send_half(message: Message) -> None:
        body = message.get("body", b"")
        await send({**message, "body": body[: len(body) // 2], "more_body": True} if body else message)
        if body:
            raise ConnectionError

    return send_half
