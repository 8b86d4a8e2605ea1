"""Programs that others wrote find their way."""

import json
import subprocess
import sys
from pathlib import Path

import pystac_client
import rasterio
from owslib.ogcapi.processes import Processes

from tests.service.serving import Server, bounds, order
from workers.demo.scene import DemoScene


def test_owslib_describes_and_executes_the_process(server: Server, scene: DemoScene) -> None:
    client = Processes(server.address)
    assert "http://www.opengis.net/spec/ogcapi-processes-1/1.0/conf/core" in client.conformance()["conformsTo"]
    assert client.api()["openapi"].startswith("3.0")
    (summary,) = client.processes()
    described = client.process(summary["id"])
    assert {"area", "start", "end", "source", "bundle"} <= set(described["inputs"])
    accepted = client.execute(summary["id"], order(scene)["inputs"], {"landcover": {}}, async_=True)
    assert accepted["status"] == "accepted"
    assert client.response_headers["Location"] == f"{server.address}/jobs/{accepted['jobID']}"
    assert client.response_headers["Preference-Applied"] == "respond-async"


def test_pystac_client_opens_and_searches_finished_maps(server: Server, scene: DemoScene, finished: str) -> None:
    client = pystac_client.Client.open(server.address)
    west, south, east, north = bounds(scene)
    assert [collection.id for collection in client.get_collections()] == ["land-cover"]
    here = client.search(bbox=[west, south, east, north], datetime=f"{scene.start:%Y-%m-%d}/..", ids=[finished])
    (item,) = here.items()
    assert item.id == finished
    assert item.assets["landcover"].href == f"{server.address}/jobs/{finished}/files/landcover.tif"
    assert not list(client.search(bbox=[west + 20, south, east + 20, north]).items())
    assert not list(client.search(datetime="1999-01-01/2000-01-01").items())
    assert client.get_collection("land-cover").get_item(finished).id == finished


def test_gdal_reads_windows_of_a_result_by_url(server: Server, finished: str) -> None:
    path = Path(server.settings.storage_url) / finished / "landcover.tif"
    with rasterio.open(path) as local:
        pixels = local.read(1, window=((40, 90), (100, 180)))
    url = f"/vsicurl/{server.address}/jobs/{finished}/files/landcover.tif"
    # In a process of its own: rasterio opens files without letting other threads run, and the server is one.
    script = (
        "import sys, rasterio; f = rasterio.open(sys.argv[1]); print(f.read(1, window=((40, 90), (100, 180))).tolist())"
    )
    read = subprocess.run([sys.executable, "-c", script, url], check=True, capture_output=True, text=True, timeout=60)
    assert json.loads(read.stdout) == pixels.tolist()
