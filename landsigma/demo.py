"""The command that shows everything at once: scenes, server, job, map."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from landsigma.jobs import successful
from landsigma.remote import JobView
from landsigma.serving import program, read_settings, tend_until_stopped

if TYPE_CHECKING:
    from contract.settings import Settings
    from service.client import Client
    from service.remote import RemoteJob
    from service.standalone.server import Server
    from workers.demo.scene import DemoScene

SOURCE: Final = "demo"
BUNDLE: Final = "vdual-simclr"
app = typer.Typer()


@app.command()
def demo(
    folder: Annotated[Path, typer.Argument(help="Where to put generated scenes, server and map")] = Path("demo"),
    *,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the server; 0: any free one")] = 0,
    stay: Annotated[
        bool | None, typer.Option("--stay/--no-stay", help="Serve on until Ctrl-C; default: at a terminal")
    ] = None,
) -> None:
    """Map a generated landscape through a server, without network."""
    from workers.demo.scene import make_demo_scene
    from workers.terminal import say, stderr, stdout

    with stderr.status("generating a landscape and its satellite passes"):
        scene = make_demo_scene(folder / "scenes")
    from service.client import Client
    from service.standalone.server import running

    settings = _settings(folder / "server", port, scene)
    with running(settings, program()) as server, Client(server.address) as client:
        _map(scene, client, server, folder / "map")
        if stay or (stay is None and stdout.is_terminal):
            say(f"serving on {server.address} until Ctrl-C")
            tend_until_stopped(server)


def _settings(data: Path, port: int, scene: "DemoScene") -> "Settings":
    """Of a server for this demo alone, whatever the environment says of others."""
    own = {
        "data_dir": data,
        "database_url": f"sqlite:///{data.absolute()}/ledger.sqlite",
        "storage_url": str(data / "results"),
        "broker_url": None,
        "host": "127.0.0.1",
        "port": port,
        "public_url": None,
        "log_level": "warning",  # what a server says of its parts would stand between the lines of the job
        "sources": {SOURCE: str(scene.catalogue.absolute())},
    }
    return read_settings(own)


def _map(scene: "DemoScene", client: "Client", server: "Server", out: Path) -> None:
    """Have the scene mapped, fetch the map, and say where it is."""
    from contract.request import MapResult
    from service.downloads import REPORT_NAME, fetch
    from service.remote import Order
    from workers.terminal import print_result, stdout

    area = json.loads(scene.aoi.read_text(encoding="utf-8"))
    order = Order(area=area, start=scene.start, end=scene.end, source=SOURCE, bundle=BUNDLE, title="demo")
    job_id = client.submit(order).job_id
    with JobView() as view:

        def seen(job: "RemoteJob") -> None:
            server.supervisor.tend()
            view.seen(job)

        successful(client.wait(job_id, seen))
        fetch(client, job_id, out, view.fetched)
    print_result(MapResult.model_validate_json((out / REPORT_NAME).read_bytes()), out)
    stdout.print(
        f"the server's address of the map, for QGIS: {client.links(job_id).files['landcover.tif']}", soft_wrap=True
    )
    stdout.print(f"look at {out / 'preview.png'}, or open {out / 'map.qgs'} in QGIS", soft_wrap=True)
