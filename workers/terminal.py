"""What a person at a terminal sees: lines, tables, and an end when they press Ctrl-C."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from threading import Event
from typing import Final, TypeVar

from rich.console import Console
from rich.table import Table
from rich.text import Text

from contract.bundle import BundleManifest
from contract.request import MapResult
from workers.bundle_diff import Difference

T = TypeVar("T")

GRACE_S: Final = 3.0
"""Time for stopped work to end by itself."""
_WAKE_S: Final = 0.2
"""A signal may reach another thread (measured: while threads start on a busy machine); the main one then has to look."""

# Names and paths are literal: "[red]" in one is no colour, ":bear:" no picture.
stdout: Final = Console(markup=False, emoji=False, highlight=False)
"""For what was asked for."""
stderr: Final = Console(markup=False, emoji=False, highlight=False, stderr=True)
"""For everything that is said on the way."""


def say(text: str, *, label: str = "", style: str = "yellow") -> None:
    """Print one line on stderr, however long, after a coloured label."""
    line = " ".join(text.splitlines())
    stderr.print(Text.assemble((label and f"{label}: ", style), line), soft_wrap=True)


def print_rows(title: str, rows: Iterable[tuple[str, str]]) -> None:
    """Print labels and values on stdout."""
    table = Table(show_header=False)
    for row in rows:
        table.add_row(*row)
    stdout.print(title, soft_wrap=True)
    stdout.print(table)


def print_result(result: MapResult, out: Path) -> None:
    """Print the classes' areas on stdout, and on stderr what else should be known."""
    table = Table("class", "km2", "share")
    for column in table.columns[1:]:
        column.justify = "right"
    for entry in result.classes:
        table.add_row(entry.name, f"{entry.area_km2:,.2f}", f"{entry.share:.1%}")
    stdout.print(f"{result.state.value}: {out}", soft_wrap=True)
    stdout.print(table)
    for warning in (*result.notices, *result.warnings):
        say(warning, label="note")


def print_bundle(manifest: BundleManifest) -> None:
    """Print on stdout what a bundle eats and gives."""
    inputs = [
        (f"eats {entry.modality.value}", f"{', '.join(entry.bands)} as {entry.unit.value}") for entry in manifest.inputs
    ]
    outputs = [
        (f"gives {entry.name}", ", ".join(entry.bands) + ("" if entry.always else " (on request)"))
        for entry in manifest.outputs
    ]
    classes = ", ".join(f"{entry.value} {entry.name}" for entry in manifest.legend.classes)
    chips = (
        f"{manifest.chip_px} px of {manifest.resolution_m:g} m, halo {manifest.halo_px} px, {manifest.batch} a batch"
    )
    graphs = [
        (f"graph {graph.path}", f"{graph.precision}, gives {', '.join(graph.outputs)}") for graph in manifest.graphs
    ]
    documents = [("card", manifest.card), ("evaluation", manifest.evaluation), ("parity", manifest.parity)]
    rows = [("what it is", manifest.description), *inputs, *outputs, ("classes", classes), ("chips", chips), *graphs]
    rows += [(what, path) for what, path in documents if path]
    print_rows(f"{manifest.title} ({manifest.kind})", [*rows, ("licence", manifest.licence)])


def print_differences(titles: tuple[str, str], differences: Iterable[Difference]) -> None:
    """Print on stdout what two bundles differ in."""
    table = Table("", *titles)
    for entry in differences:
        table.add_row(entry.what, entry.first, entry.second)
    stdout.print(table)


def wait_for(work: Callable[[], T], stop: Event) -> T:
    """What `work` gives, made in a thread of its own.

    Only the main thread hears Ctrl-C, and not while it is inside of GDAL or ONNX Runtime. Here it breaks into a wait, not
    into a library that takes it for an error of its own.

    Raises:
        KeyboardInterrupt: Someone pressed Ctrl-C. `stop` is set; after `GRACE_S` the work may still go on.
    """
    job = ThreadPoolExecutor(1).submit(work)
    try:
        while not wait([job], _WAKE_S).done:
            pass
    except KeyboardInterrupt:
        stop.set()
        wait([job], GRACE_S)
        raise
    return job.result()
