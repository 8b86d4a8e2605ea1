"""What a reader does when a server fails."""

import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest
import rasterio

from contract.errors import AssetUnreadable, SourceUnreachable
from contract.grid import Window
from contract.scene import Area, Scene
from tests.faults import Fault, FaultyFiles, faulty_server
from tests.rasters import GRID, scene_of, write_raster
from workers.reading import Patience, SceneReader
from workers.resampling import BandPixels
from workers.sources.signing import Signer, Signing

QUICK = Patience(attempts=3, backoff_s=0.01, stall_s=0.25)
SIZE_PX = 700
"""Well above the bytes that come with a header."""


class NumberedSigner(Signer):
    """Signs with `token=0`, and one more each time a token was forgotten."""

    def __init__(self) -> None:
        super().__init__()
        self.forgotten = 0

    def readable(self, href: str, signing: Signing) -> str:
        return f"{href}?token={self.forgotten}" if signing else href

    def forget(self, href: str, signing: Signing) -> None:  # noqa: ARG002  the interface
        self.forgotten += 1


class NoTokens(Signer):
    """Its token endpoint is down."""

    def readable(self, href: str, signing: Signing) -> str:  # noqa: ARG002  the interface
        raise SourceUnreachable("planetary-computer", href, "no answer")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultyFiles]:
    with faulty_server(tmp_path_factory.mktemp("served")) as files:
        yield files


@pytest.fixture
def server(files: FaultyFiles) -> FaultyFiles:
    """Healthy, with one asset that no test has seen before, since GDAL remembers URLs."""
    for path in files.folder.iterdir():
        path.unlink()
    noise = np.random.default_rng(0).integers(1, 10_000, (SIZE_PX, SIZE_PX)).astype(np.uint16)
    write_raster(files.folder / f"{uuid4().hex}.tif", noise)
    files.faults, files.requests, files.refused_query = [], [], "none"
    return files


def asset_in(server: FaultyFiles) -> Path:
    (path,) = server.folder.iterdir()
    return path


def remote_scene(server: FaultyFiles) -> Scene:
    return scene_of({"B02": f"{server.address}/{asset_in(server).name}"}, footprint=Area(coordinates=()))


def read(server: FaultyFiles, *, reader: SceneReader | None = None, window: Window | None = None) -> BandPixels:
    window = window or Window(row=0, col=0, height=SIZE_PX, width=SIZE_PX)
    return (reader or SceneReader(patience=QUICK)).read(remote_scene(server), "B02", grid=GRID, window=window)


def assert_complete(pixels: BandPixels, server: FaultyFiles) -> None:
    with rasterio.open(asset_in(server)) as raster:
        np.testing.assert_array_equal(pixels.values, raster.read(1))
    assert not pixels.missing.any()


@pytest.mark.parametrize("healthy", [0, 1, 2])
@pytest.mark.parametrize("fault", [404, 500, 503, "truncated", "stalled", "dropped"])
def test_a_fault_that_passes_is_survived(server: FaultyFiles, fault: Fault, healthy: int) -> None:
    server.faults = [*[None] * healthy, fault]  # at the size, the header or the pixels
    assert_complete(read(server), server)


@pytest.mark.parametrize("healthy", [0, 2])
@pytest.mark.parametrize("fault", [404, 500, "truncated", "dropped"])
def test_a_fault_that_stays_is_reported(server: FaultyFiles, fault: Fault, healthy: int) -> None:
    server.faults = [*[None] * healthy, *[fault] * 1000]
    with pytest.raises(AssetUnreadable) as caught:
        read(server)
    assert (caught.value.scene, caught.value.band) == ("scene", "B02")
    assert f"attempts: 3, {server.address}/{asset_in(server).name}" in caught.value.reason


def test_the_status_is_in_the_reason(server: FaultyFiles) -> None:
    server.faults = [404] * 1000
    with pytest.raises(AssetUnreadable, match="HTTP response code: 404"):
        read(server)


def test_a_server_that_says_nothing_is_given_up_in_time(server: FaultyFiles) -> None:
    server.faults = ["stalled"] * 1000
    begun = time.monotonic()
    with pytest.raises(AssetUnreadable):
        read(server)
    assert time.monotonic() - begun < 15


def test_a_failure_is_not_remembered_by_the_process(server: FaultyFiles) -> None:
    server.faults = [404] * 1000
    with pytest.raises(AssetUnreadable):
        read(server)
    server.faults = []
    assert_complete(read(server), server)


def test_a_header_is_asked_for_once(server: FaultyFiles) -> None:
    read(server, window=Window(row=0, col=0, height=10, width=10))
    before = len(server.requests)
    read(server, window=Window(row=600, col=600, height=10, width=10))
    assert server.requests[before:] == [f"GET /{asset_in(server).name}"]


def test_nothing_is_looked_for_beside_an_asset(server: FaultyFiles) -> None:
    read(server)
    assert {request.split()[1] for request in server.requests} == {f"/{asset_in(server).name}"}


def test_a_refused_token_is_replaced(server: FaultyFiles) -> None:
    server.refused_query = "token=0"
    signer = NumberedSigner()
    signed = remote_scene(server).model_copy(update={"signing": "planetary-computer"})
    window = Window(row=0, col=0, height=SIZE_PX, width=SIZE_PX)
    pixels = SceneReader(signer, QUICK).read(signed, "B02", grid=GRID, window=window)
    assert_complete(pixels, server)
    assert signer.forgotten == 1


def test_a_token_is_not_told_to_anybody(server: FaultyFiles) -> None:
    server.faults = [*[None] * 2, *[500] * 1000]
    signed = remote_scene(server).model_copy(update={"signing": "planetary-computer"})
    with pytest.raises(AssetUnreadable) as caught:
        SceneReader(NumberedSigner(), QUICK).read(signed, "B02", grid=GRID, window=GRID.window)
    assert "token" not in str(caught.value)


def test_a_token_endpoint_that_is_down_says_nothing_about_an_asset(server: FaultyFiles) -> None:
    with pytest.raises(SourceUnreachable, match="no answer"):
        read(server, reader=SceneReader(NoTokens(), QUICK))
