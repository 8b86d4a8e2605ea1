"""Servers for tests: files with range requests, any web application, and a real STAC API over them."""

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import requests
import uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

START_S = 20.0
STOP_S = 10.0
HOST = "127.0.0.1"


@contextmanager
def running(application: ASGIApp) -> Iterator[str]:
    """The address of a web application that runs until the block is left."""
    server = uvicorn.Server(uvicorn.Config(application, log_level="error", lifespan="off", timeout_graceful_shutdown=1))
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            _wait_until(lambda: server.started, "the web server did not start")
            yield f"http://{HOST}:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(STOP_S)


@contextmanager
def file_server(folder: Path) -> Iterator[str]:
    """The address under which a folder's files are served, with the range requests that GDAL needs."""
    with running(Starlette(routes=[Mount("/", StaticFiles(directory=folder, follow_symlink=True))])) as address:
        yield address


@contextmanager
def stac_api(items: list[dict[str, object]], folder: Path) -> Iterator[str]:
    """The address of a STAC API with these items, whose asset hrefs are absolute; `folder` is for its input."""
    path = folder / "items.json"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": items}))
    port = _free_port()
    command = [
        str(Path(sys.executable).with_name("rustac")),
        "serve",
        str(path),
        "--create-collections",
        "--addr",
        f"{HOST}:{port}",
    ]
    with (folder / "stac-api.log").open("w") as log, subprocess.Popen(command, stdout=log, stderr=log) as server:
        try:
            _wait_until(lambda: _answers(server, port), "the STAC API did not start")
            yield f"http://{HOST}:{port}"
        finally:
            server.terminate()
            server.wait(STOP_S)


@contextmanager
def served_catalogue(catalogue: Path, folder: Path) -> Iterator[str]:
    """The address of a STAC API over a static catalogue on disk, its assets served by a second server."""
    root = catalogue.parent
    with file_server(root) as files, stac_api(items_of(catalogue, root, files), folder) as api:
        yield api


def items_of(catalogue: Path, root: Path, address: str) -> list[dict[str, object]]:
    """The items below a catalog.json, hrefs of assets made absolute for a server of `root` at an address."""
    document = json.loads(catalogue.read_text())
    if document["type"] == "Feature":
        for asset in document["assets"].values():
            asset["href"] = f"{address}/{(catalogue.parent / asset['href']).resolve().relative_to(root.resolve())}"
        return [document]
    links = [link["href"] for link in document["links"] if link["rel"] in {"child", "item"}]
    return [item for href in links for item in items_of((catalogue.parent / href).resolve(), root, address)]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def _answers(server: subprocess.Popen[bytes], port: int) -> bool:
    if server.poll() is not None:
        raise RuntimeError(f"rustac serve ended with status {server.returncode}")
    try:
        return requests.get(f"http://{HOST}:{port}/", timeout=1).ok
    except requests.ConnectionError:
        return False


def _wait_until(condition: Callable[[], bool], complaint: str) -> None:
    deadline = time.monotonic() + START_S
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(complaint)
        time.sleep(0.02)
