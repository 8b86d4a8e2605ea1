"""Where things are that commands share."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from contract.errors import OutputNotWritable


def shelves() -> tuple[Path, ...]:
    """Folders with bundles: those shipped."""
    return (Path(__file__).resolve().parents[1] / "deploy" / "models",)


def absolute(name: str) -> str:
    """A path as it is known from every folder, since a job may be resumed from another; anything else as it is."""
    return str(Path(name).resolve()) if Path(name).exists() else name


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Says which folder it was that cannot be written."""
    try:
        yield
    except OSError as error:
        raise OutputNotWritable(path=str(folder), reason=str(error)) from error
