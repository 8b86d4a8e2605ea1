"""How far a checkpoint's graph is from the model, in every output, on real patches under every mask.

    python benchmarks/parity.py runs/NAME/model.pt

The graph with all outputs is compared on every provider at hand with the model in double precision, on patches of all
archives that the checkpoint's configuration names, a few minutes for 100 of them. An error is relative to 1 or to the
number's own size, whichever is larger.
"""

import argparse
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Final

from export.chips import hard, masked, real_chips
from export.parity import ParityReport, measure_parity
from export.torch_graph import available_outputs, export_graph
from training.checkpoint import load_model
from training.data.pool import SamplePool
from training.setup import labelled_pool, unlabelled_pool
from training.tensors import Inputs

PATCH_PX: Final = 128
"""Of the graph: one patch of 120 px at a time, and larger images in pieces."""


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--patches", type=int, default=100)
    chosen = parser.parse_args()
    model, provenance = load_model(chosen.checkpoint)
    thresholds = provenance.calibration.conformal if provenance.calibration else ()
    graph = export_graph(model, PATCH_PX, available_outputs(model, thresholds), thresholds=thresholds)
    pool = SamplePool.join([labelled_pool(provenance.config), unlabelled_pool(provenance.config)])
    patches = islice(real_chips(pool, model.encoder.bands, PATCH_PX), chosen.patches)
    print_table(measure_parity(model, graph, cases(patches), thresholds=thresholds))


def cases(patches: Iterable[Inputs]) -> Iterator[tuple[str, Inputs]]:
    """Each patch under every mask, with its name."""
    for number, patch in enumerate(patches):
        yield from masked(patch).items()
        yield from hard(patch, seed=number).items()


def print_table(report: ParityReport) -> None:
    """A line for each output under each mask, the largest error below."""
    print("| provider | patches are | output | patches | mean error | largest error |\n" + "| --- " * 6 + "|")
    for entry in report.outputs:
        errors = f"{entry.mean_error:.1e} | {entry.max_error:.1e}"
        print(f"| {entry.provider.value} | {entry.case} | {entry.output} | {entry.chips} | {errors} |")
    worst = report.worst
    print(
        f"\nlargest: {worst.max_error:.1e} ({worst.output}, {worst.case}); the gate's limit is {report.limit.maximum:g}"
    )
    print(f"not at hand: {', '.join(provider.value for provider in report.untried) or 'none'}")


if __name__ == "__main__":
    main()
