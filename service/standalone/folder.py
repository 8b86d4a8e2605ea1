"""The data folder, held by one server at a time."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from contract.errors import DataFolderInUse, OutputNotWritable

LOCK_NAME: Final = "serve.lock"


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keeps other servers out until the block is left, or this process dies.

    Raises:
        DataFolderInUse: Another server has it.
        OutputNotWritable: It cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise OutputNotWritable(path=str(folder), reason=str(error)) from error
    with os.fdopen(lock, "r+", encoding="ascii") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the kernel lets go of it when this process ends, however
        except BlockingIOError:
            raise DataFolderInUse(str(folder), file.read().strip() or "?") from None
        file.truncate()
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield
