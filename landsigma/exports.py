"""Commands that make models ready for mapping."""

import threading
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from landsigma.places import shelves, writing

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Make models ready for mapping.")


class Reduced(StrEnum):
    """Precisions to try beside float32, as Typer takes a list of choices."""

    FLOAT16 = "float16"
    INT8 = "int8"


@app.command("bundle")
def export_bundle_(  # noqa: PLR0913  a command line has one parameter for each option
    checkpoint: Annotated[Path, typer.Argument(metavar="CHECKPOINT", help="Calibrated: model.pt")],
    evaluations: Annotated[
        list[Path], typer.Argument(metavar="EVALUATION...", help="Folders that evaluate wrote, named for their splits")
    ],
    *,
    out: Annotated[Path, typer.Option(help="Folder of the bundle; must not exist")],
    name: Annotated[str, typer.Option(help="Name of the bundle, as vdual-simclr-europe")],
    version_: Annotated[str, typer.Option("--version", help="Of the bundle, as 1.0.0")],
    licence: Annotated[str, typer.Option(help="Of the weights, SPDX")] = "Apache-2.0",
    variant: Annotated[list[Reduced] | None, typer.Option(help="Precision to try; repeat for more")] = None,
    chip_px: Annotated[int, typer.Option(min=64, help="Height and width of the graphs")] = 512,
    batch: Annotated[int, typer.Option(min=1, help="Chips per run")] = 1,
) -> None:
    """Bundle a checkpoint: graphs, figures, model card; nothing is written unless the graphs give what it gives."""
    from export.bundle import BundleOrder, export_bundle
    from workers.terminal import stderr, stdout, wait_for

    order = BundleOrder(
        checkpoint=checkpoint,
        evaluations=tuple(evaluations),
        name=name,
        version=version_,
        licence=licence,
        variants=tuple(reduced.value for reduced in variant or ()),
        chip_px=chip_px,
        batch=batch,
    )
    with stderr.status("exporting graphs and comparing them with the model"), writing(out):
        manifest = wait_for(lambda: export_bundle(order, out), threading.Event())
    stdout.print(f"{manifest.title} is in {out}; read {out / str(manifest.card)}", soft_wrap=True)
    for precision in {reduced.value for reduced in variant or ()} - {graph.precision for graph in manifest.graphs}:
        stdout.print(f"{precision} was no faster here and is left out; the card has its figures", soft_wrap=True)


@app.command("tensorrt")
def export_tensorrt(
    bundle: Annotated[str, typer.Argument(metavar="BUNDLE", help="Name or folder of a bundle")],
    *,
    out: Annotated[Path | None, typer.Option(help="Folder for engines; default: that of landsigma's cache")] = None,
) -> None:
    """Build TensorRT engines of a bundle's graphs, for the GPU of this machine. Never run so far: no GPU was at hand."""
    from contract.bundle import Provider
    from export.tensorrt import build_engine
    from workers.bundle import find_bundle, verify_bundle
    from workers.providers import engine_folder
    from workers.terminal import stdout, wait_for

    found, engines = find_bundle(bundle, shelves()), out or engine_folder()
    verify_bundle(found)
    for graph in found.manifest.graphs:
        if Provider.TENSORRT in graph.providers:
            work = partial(build_engine, found.folder, found.manifest, graph, engines)
            stdout.print(str(wait_for(work, threading.Event())), soft_wrap=True)
