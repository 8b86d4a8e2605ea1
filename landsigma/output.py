"""What commands print alike."""

import sys
from collections.abc import Iterable, Sequence
from typing import Final

from contract.record import Record

LOG_COLUMNS: Final = 160
"""Width of tables where there is no terminal that would set it."""


def print_json(record: Record) -> None:
    """Print a record as JSON on stdout, for programs."""
    sys.stdout.write(record.model_dump_json(indent=2) + "\n")


def print_list(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table at a terminal, its first column whole; elsewhere a line for each row, with tabs, for programs."""
    from rich.table import Column, Table

    from workers.terminal import stdout

    if not stdout.is_terminal:
        sys.stdout.writelines("\t".join(row) + "\n" for row in rows)
        return
    table = Table(Column(titles[0], no_wrap=True), *titles[1:])
    for row in rows:
        table.add_row(*row)
    stdout.print(table)
