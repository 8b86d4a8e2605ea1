"""What two bundles differ in: manifest, calibration, files, and the figures of their evaluations."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from pydantic import JsonValue, ValidationError

from contract.errors import BundleInvalid
from contract.evaluation import BundleEvaluation
from workers.bundle import Bundle

ABSENT: Final = "-"
NAMES: Final = ("name", "path", "value", "method", "alpha", "modality")
"""Fields that tell the entries of a list from each other, whatever their order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One thing that is not the same."""

    what: str
    """As "calibration.temperature"."""
    first: str
    """`ABSENT` where the bundle has no such thing."""
    second: str


def compare_bundles(first: Bundle, second: Bundle) -> tuple[Difference, ...]:
    """Everything that differs, in the order of the manifest, then files, then figures.

    Raises:
        BundleInvalid: An evaluation cannot be read.
    """
    return (
        *_differences(dict(_manifest(first)), dict(_manifest(second))),
        *_differences(dict(_files(first)), dict(_files(second))),
        *_differences(dict(_figures(first)), dict(_figures(second))),
    )


def _differences(first: dict[str, str], second: dict[str, str]) -> Iterator[Difference]:
    for what in dict.fromkeys([*first, *second]):
        pair = first.get(what, ABSENT), second.get(what, ABSENT)
        if pair[0] != pair[1]:
            yield Difference(what=what, first=pair[0], second=pair[1])


def _manifest(bundle: Bundle) -> Iterator[tuple[str, str]]:
    for field, value in bundle.manifest.model_dump(mode="json", exclude={"files"}).items():
        yield from _leaves(field, value)


def _files(bundle: Bundle) -> Iterator[tuple[str, str]]:
    for file in bundle.manifest.files:
        yield f"file {file.path}", f"{file.sha256[:12]}, {file.size_bytes:,} bytes"


def _figures(bundle: Bundle) -> Iterator[tuple[str, str]]:
    path = bundle.manifest.evaluation
    if path is None:
        return
    try:
        evaluation = BundleEvaluation.model_validate_json((bundle.folder / path).read_bytes())
    except (OSError, ValidationError) as error:
        raise BundleInvalid(str(bundle.folder), f"{path} cannot be read: {error}") from error
    for split in evaluation.splits:
        for view in split.views:
            yield f"{split.split}, {view.view}: pixels", f"{view.pixels:,}"
            for name, figure in view.figures.items():
                yield f"{split.split}, {view.view}: {name}", str(figure)


def _leaves(place: str, value: JsonValue) -> Iterator[tuple[str, str]]:
    """Every number and text below a place, by its path."""
    match value:
        case dict():
            for key, inner in value.items():
                yield from _leaves(f"{place}.{key}", inner)
        case list():
            for index, inner in enumerate(value):
                yield from _leaves(f"{place}[{_name(inner, index)}]", inner)
        case _:
            yield place, ABSENT if value is None else str(value)


def _name(entry: JsonValue, index: int) -> str:
    told = [str(entry[key]) for key in NAMES if key in entry] if isinstance(entry, dict) else []
    return " ".join(told) or str(index)
