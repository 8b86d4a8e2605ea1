"""Commands that look at exported models."""

import threading
from typing import Annotated

import typer

from landsigma.output import print_json
from landsigma.places import shelves

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Look at exported models.")


@app.command("show")
def bundle_show(
    bundle: Annotated[str, typer.Argument(metavar="BUNDLE", help="Name or folder of a bundle")],
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print the manifest")] = False,
) -> None:
    """Say what a bundle eats and gives."""
    from workers.bundle import find_bundle
    from workers.terminal import print_bundle

    manifest = find_bundle(bundle, shelves()).manifest
    if as_json:
        print_json(manifest)
        return
    print_bundle(manifest)


@app.command("verify")
def bundle_verify(
    bundle: Annotated[str, typer.Argument(metavar="BUNDLE", help="Name or folder of a bundle")],
) -> None:
    """Check files and graph against the manifest, and run it."""
    from workers.bundle import find_bundle
    from workers.model import Model
    from workers.terminal import stdout

    model = Model(find_bundle(bundle, shelves()))
    model.warm_up()
    manifest = model.bundle.manifest
    stdout.print(f"{manifest.title}: every file is as the manifest says; runs on {model.provider}", soft_wrap=True)


@app.command("diff")
def bundle_diff(
    first: Annotated[str, typer.Argument(metavar="A", help="Name or folder of a bundle")],
    second: Annotated[str, typer.Argument(metavar="B", help="Name or folder of another")],
) -> None:
    """Say what two bundles differ in: manifest, calibration, files, figures."""
    from workers.bundle import find_bundle
    from workers.bundle_diff import compare_bundles
    from workers.terminal import print_differences, stdout

    bundles = find_bundle(first, shelves()), find_bundle(second, shelves())
    differences = compare_bundles(*bundles)
    titles = bundles[0].manifest.title, bundles[1].manifest.title
    if differences:
        print_differences(titles, differences)
    else:
        stdout.print(f"{titles[0]} and {titles[1]} are the same", soft_wrap=True)


@app.command("warm")
def bundle_warm(
    bundle: Annotated[str, typer.Argument(metavar="BUNDLE", help="Name or folder of a bundle")],
    *,
    threads: Annotated[int, typer.Option(min=0, help="CPU threads of the model; 0: every core")] = 0,
) -> None:
    """Load and run every graph here, so that TensorRT builds its engines now and not in the first job."""
    from workers.bundle import find_bundle
    from workers.model import Model
    from workers.providers import engine_folder
    from workers.terminal import stderr, stdout, wait_for

    found, engines = find_bundle(bundle, shelves()), engine_folder()
    with stderr.status("loading graphs; TensorRT takes minutes for an engine that is not there yet"):
        model = wait_for(lambda: Model(found, threads=threads, engines=engines), threading.Event())
        wait_for(model.warm_up, threading.Event())
    stdout.print(f"{found.manifest.title} runs on {model.provider}", soft_wrap=True)
    for fall_back in model.fall_backs:
        stdout.print(f"not on {fall_back.provider.value}: {fall_back.reason}", soft_wrap=True)
