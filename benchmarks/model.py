"""Speed of a trained model's graph: against torch, against the multiplications that the machine can do, by chip and batch.

    python benchmarks/model.py runs/NAME/model.pt

Figures are thousands of pixels per second, the fastest of some runs; a busy machine gives lower ones. "kept" counts the
pixels of a chip without its halo: those are what a map is made of. The graph runs as in a worker: each thread has chips of its
own. torch has all threads on one chip.
"""

import argparse
import itertools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import torch

from contract.bundle import ConformalThreshold
from export.session import GraphSession, fastest
from export.torch_graph import LEAN, available_outputs, export_graph
from training.checkpoint import load_model
from training.models.cost import kflop_per_px
from training.models.mapping import MappingModel
from training.stages import conditions
from training.tensors import Inputs

PRODUCT = 2048
"""Rows and columns of the matrices whose product shows how many multiplications and additions a core can do."""
RUNS = 4
"""Of each thread in a row."""


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--chips", type=int, nargs="+", default=[256, 384, 512], help="heights and widths, px")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 4])
    chosen = parser.parse_args()
    model, provenance = load_model(chosen.checkpoint)
    thresholds = provenance.calibration.conformal if provenance.calibration else ()
    print(f"{kflop_per_px(model, 256):.1f} kFLOP/px, halo {conditions(model).halo_px} px\n")
    print_backends(model, chosen.chips[0], chosen.threads)
    print_sizes(model, list(itertools.product(chosen.chips, chosen.batches)), chosen.threads)
    print_outputs(model, chosen.chips[0], thresholds)


def print_backends(model: MappingModel, chip_px: int, threads: Sequence[int]) -> None:
    """The graph, torch eager and torch.compile on the same chip, and their share of what the machine can multiply."""
    print(
        "| threads | graph | torch eager | torch.compile | limit | graph of limit |\n| --- | --- | --- | --- | --- | --- |"
    )
    graph, chip = export_graph(model, chip_px), noise(model, chip_px)
    for count in threads:
        torch.set_num_threads(count)
        left, right = torch.rand(2, PRODUCT, PRODUCT)
        calls = {
            "limit": partial(torch.matmul, left, right),
            "graph": partial(run_in_lanes, GraphSession(graph, threads=1), chip, count),
            "eager": partial(answer, model, chip),
        }
        compiled = compiled_call(model, chip)
        if not isinstance(compiled, str):
            calls["compile"] = compiled
        seconds = dict(zip(calls, fastest([*calls.values()]), strict=True))
        limit = 2 * PRODUCT**3 / seconds["limit"] / 1000 / kflop_per_px(model, chip_px)
        speeds = {name: chip_px**2 / seconds[name] for name in calls if name != "limit"}
        speeds["graph"] *= count * RUNS
        compile_ = f"{speeds['compile'] / 1000:.0f}" if "compile" in speeds else compiled
        print(
            f"| {count} | {speeds['graph'] / 1000:.0f} | {speeds['eager'] / 1000:.0f} | {compile_} | {limit / 1000:.0f} | "
            f"{speeds['graph'] / limit:.0%} |",
            flush=True,
        )


def print_sizes(model: MappingModel, sizes: Sequence[tuple[int, int]], threads: Sequence[int]) -> None:
    """Chips and batches: all pixels, and those that are kept."""
    print("\n| chip px | batch | threads | all | kept |\n| --- | --- | --- | --- | --- |")
    halo_px = conditions(model).halo_px
    graphs = {chip_px: export_graph(model, chip_px) for chip_px in {chip_px for chip_px, _ in sizes}}
    for count in threads:
        sessions = {chip_px: GraphSession(graph, threads=1) for chip_px, graph in graphs.items()}
        runs = [
            partial(run_in_lanes, sessions[chip_px], noise(model, chip_px, batch), count) for chip_px, batch in sizes
        ]
        for (chip_px, batch), seconds in zip(sizes, fastest(runs), strict=True):
            chips = batch * count * RUNS
            every = chips * chip_px**2 / seconds
            kept = chips * max(0, chip_px - 2 * halo_px) ** 2 / seconds
            print(f"| {chip_px} | {batch} | {count} | {every / 1000:.0f} | {kept / 1000:.0f} |", flush=True)


def print_outputs(model: MappingModel, chip_px: int, thresholds: Sequence[ConformalThreshold]) -> None:
    """Whether ONNX Runtime computes outputs that nobody fetches."""
    print("\n| graph | fetched | kpx/s |\n| --- | --- | --- |")
    chip, every = noise(model, chip_px), available_outputs(model, thresholds)
    lean = GraphSession(export_graph(model, chip_px), threads=1)
    full = GraphSession(export_graph(model, chip_px, every, thresholds=thresholds), threads=1)
    calls = {
        "| lean | all |": partial(lean.run, chip),
        f"| full | {', '.join(LEAN)} |": partial(full.run, chip, LEAN),
        "| full | all |": partial(full.run, chip),
    }
    for name, seconds in zip(calls, fastest([*calls.values()]), strict=True):
        print(f"{name} {chip_px**2 / seconds / 1000:.0f} |", flush=True)


def run_in_lanes(session: GraphSession, chips: Inputs, lanes: int) -> None:
    """`RUNS` runs in each of as many threads."""
    with ThreadPoolExecutor(lanes) as pool:
        for _ in pool.map(lambda _: session.run(chips), range(lanes * RUNS)):
            pass


def noise(model: MappingModel, chip_px: int, batch: int = 1) -> Inputs:
    """Chips that both sensors have observed everywhere."""
    generator, bands, shape = torch.Generator().manual_seed(0), model.encoder.bands, (chip_px, chip_px)
    seen = torch.ones(batch, 1, *shape)
    return Inputs(
        s2=0.3 * torch.rand(batch, len(bands.s2), *shape, generator=generator),
        s2_valid=seen,
        s1=5 * torch.randn(batch, len(bands.s1), *shape, generator=generator) - 14,
        s1_valid=seen,
    )


def answer(model: Callable[[Inputs], object], chip: Inputs) -> object:
    """The model's, without gradients."""
    with torch.inference_mode():
        return model(chip)


def compiled_call(model: MappingModel, chip: Inputs) -> Callable[[], object] | str:
    """The model compiled by torch, or why it is not."""
    compiled = partial(answer, torch.compile(model), chip)
    try:
        compiled()
    except (RuntimeError, ImportError, OSError) as error:
        return f"not here: {str(error).splitlines()[0]}"
    return compiled


if __name__ == "__main__":
    main()
