"""The API in this process: checked, then served until a signal comes."""

import socket
from contextlib import suppress
from typing import Final

import uvicorn

from contract.database import Database
from contract.errors import AddressUnusable
from contract.keys import KeyStore
from contract.logs import configure_logs
from contract.settings import Settings
from service.app import create_app
from service.keys import check_address

BACKLOG: Final = 2048
"""Connections that wait, also while the API starts again."""
LEAVE_S: Final = 5
"""For answers that are under way when it is asked to stop."""


def check_settings(settings: Settings) -> None:
    """Make the ledger ready, and make sure that nobody comes in who should not.

    Raises:
        LedgerUnusable: The database cannot be reached or written.
        KeysNeeded: The server would listen beyond this machine, and no key opens anything.
    """
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    with Database.open(settings.database_url.get_secret_value()) as database:
        check_address(settings, KeyStore(database))


def listen(host: str, port: int) -> socket.socket:
    """A socket on which connections wait from now on.

    Raises:
        AddressUnusable: The port is taken, or the host is not this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise AddressUnusable(host, port, error.strerror or str(error)) from error


def address_of(listener: socket.socket) -> str:
    """The URL by which programs on this machine reach it."""
    host, port = listener.getsockname()[:2]
    local = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  asked for, not bound here
    return f"http://[{local}]:{port}" if ":" in local else f"http://{local}:{port}"


def run_api(settings: Settings, listener: socket.socket) -> None:
    """Answer what comes on this socket until SIGTERM or SIGINT; what is under way then is answered still."""
    configure_logs(settings.log_format, settings.log_level)
    config = uvicorn.Config(
        create_app(settings),
        log_config=None,  # its loggers go where ours go
        access_log=False,  # /metrics counts
        server_header=False,
        proxy_headers=False,  # who is asked for how is told by public_url
        timeout_graceful_shutdown=LEAVE_S,
    )
    with suppress(KeyboardInterrupt):  # the signal that ended it, raised once more when it is done
        uvicorn.Server(config).run(sockets=[listener])
