"""Signed links: what opens, what does not, and that nothing leads out of the results."""

import base64
import hmac
import http.client
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pystac
import pytest
import rasterio
import requests
from numpy.typing import NDArray

from contract.database import Database
from contract.errors import SettingInvalid
from contract.keys import KeyStore, Scope
from contract.settings import Settings
from service.problems import Refused
from service.signing import KEPT_AS, Signer, signer_of
from tests.qgis import answer_of
from tests.service.serving import EXECUTION, Server, order, serving, settings_for
from workers.demo.scene import DemoScene

OPEN_BY_QGIS = """
import json, os, sys
from qgis.core import QgsApplication, QgsRasterLayer

application = QgsApplication([], False)
application.initQgis()
layer = QgsRasterLayer(sys.argv[1], "map")
seen = {"valid": layer.isValid()}
if seen["valid"]:
    block = layer.dataProvider().block(1, layer.extent(), layer.width(), layer.height())
    open(sys.argv[2], "wb").write(bytes(block.data()))
    seen |= {"renderer": layer.renderer().type(), "shape": [layer.height(), layer.width()]}
print(json.dumps(seen))
sys.stdout.flush()
os._exit(0)  # taking QGIS down in order crashes it now and then
"""
SIGNER = Signer(b"a secret of the tests")


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory, scene: DemoScene) -> Iterator[tuple[Server, dict[str, str], str]]:
    """An API with a key, the header that presents it, and a finished job of its holder."""
    settings = settings_for(tmp_path_factory.mktemp("links"), sources={"demo": str(scene.catalogue)}, link_s=3600)
    with Database.open(settings.database_url.get_secret_value()) as database:
        token = KeyStore(database).create("test", scopes=list(Scope)).token
    header = {"Authorization": f"Bearer {token}"}
    with serving(settings) as server:
        job_id = server.post(EXECUTION, order(scene), **header).json()["jobID"]
        server.work(job_id)
        yield server, header, job_id


def links(server: Server, header: dict[str, str], job_id: str, **terms: int) -> dict[str, str]:
    """Address of each file."""
    answer = server.post(f"/jobs/{job_id}/links", terms, **header)
    assert answer.status_code == 201, answer.text
    return answer.json()["files"]


def status(url: str) -> int:
    return requests.get(url, timeout=10).status_code


def test_a_token_opens_its_subject_until_it_expires() -> None:
    token = SIGNER.token("job-1", 1000)
    assert SIGNER.subject(token, 999.9) == "job-1"
    with pytest.raises(Refused, match="expired at 1970-01-01 00:16"):
        SIGNER.subject(token, 1000)


def test_a_signature_is_an_hmac_of_purpose_subject_and_expiry() -> None:
    """Against the standard's own words: RFC 2104 over SHA-256, in the alphabet of RFC 4648, section 5."""
    meant = hmac.new(b"a secret of the tests", b"landsigma link\njob-1\n1000", "sha256").digest()
    assert base64.urlsafe_b64decode(SIGNER.token("job-1", 1000).split(".")[2] + "=") == meant


def test_a_token_with_anything_changed_opens_nothing() -> None:
    token = SIGNER.token("job-1", 5000)
    changed = [token[:place] + other + token[place + 1 :] for place in range(len(token) - 1) for other in "0Az.-"]
    others = [Signer(b"another secret").token("job-1", 5000), "", ".", "..", token + "\n", f" {token}", token + "."]
    for wrong in (*(entry for entry in changed if entry != token), *others):
        with pytest.raises(Refused, match=r"was not made|expired"):
            SIGNER.subject(wrong, 10)


def test_the_secret_is_made_once_and_for_the_server_alone(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "new")
    first = signer_of(settings)
    assert signer_of(settings) == first
    assert len(first.secret) >= 32
    assert (tmp_path / "new" / KEPT_AS).stat().st_mode & 0o777 == 0o600
    assert [path.name for path in (tmp_path / "new").iterdir()] == [KEPT_AS]
    assert signer_of(Settings(data_dir=tmp_path / "other")) != first


def test_a_secret_of_the_settings_is_used_unless_it_can_be_guessed(tmp_path: Path) -> None:
    assert signer_of(Settings(data_dir=tmp_path, link_secret="0123456789abcdef")).secret == b"0123456789abcdef"
    assert not (tmp_path / KEPT_AS).exists()
    with pytest.raises(SettingInvalid, match=r"LINK_SECRET.*at least 16") as refusal:
        signer_of(Settings(data_dir=tmp_path, link_secret="hunter2"))
    assert "hunter2" not in str(refusal.value)


def test_gdal_opens_a_raster_by_its_link_alone_with_what_lies_beside_it(
    keyed: tuple[Server, dict[str, str], str], tmp_path: Path
) -> None:
    server, header, job_id = keyed
    files = links(server, header, job_id)
    path = Path(server.settings.storage_url) / job_id / "landcover.tif"
    with rasterio.open(path) as local:
        expected, beside = local.read(1), [Path(name).name for name in local.files]
    found, names = opened_by_gdal(f"/vsicurl/{files['landcover.tif']}", tmp_path)
    np.testing.assert_array_equal(found, expected)
    assert names == beside == ["landcover.tif", "landcover.tif.aux.xml"]
    assert requests.get(files["landcover.tif.aux.xml"], timeout=10).content == Path(f"{path}.aux.xml").read_bytes()
    part = requests.get(files["landcover.tif"], headers={"Range": "bytes=4-11"}, timeout=10)
    assert (part.status_code, part.content) == (206, path.read_bytes()[4:12])
    head = requests.head(files["landcover.tif"], timeout=10)
    assert (head.status_code, int(head.headers["Content-Length"])) == (200, path.stat().st_size)
    assert status(f"{server.address}/jobs/{job_id}/files/landcover.tif") == 401


def test_qgis_opens_the_map_by_its_link_alone_in_its_colours(
    keyed: tuple[Server, dict[str, str], str], tmp_path: Path
) -> None:
    server, header, job_id = keyed
    url = links(server, header, job_id)["landcover.tif"]
    pixels = tmp_path / "pixels"
    seen = answer_of(OPEN_BY_QGIS, f"/vsicurl/{url}", pixels)
    with rasterio.open(Path(server.settings.storage_url) / job_id / "landcover.tif") as local:
        expected = local.read(1)
    assert seen == {"valid": True, "renderer": "paletted", "shape": list(expected.shape)}
    np.testing.assert_array_equal(np.fromfile(pixels, np.uint8).reshape(expected.shape), expected)
    assert not answer_of(OPEN_BY_QGIS, f"/vsicurl/{server.address}/jobs/{job_id}/files/landcover.tif", pixels)["valid"]


def test_every_file_of_the_job_has_a_link_and_the_item_finds_its_assets_there(
    keyed: tuple[Server, dict[str, str], str],
) -> None:
    server, header, job_id = keyed
    files = links(server, header, job_id)
    published = {path.name for path in (Path(server.settings.storage_url) / job_id).iterdir()}
    assert set(files) == published
    assert {status(url) for url in files.values()} == {200}
    item = pystac.Item.from_file(files["item.json"])
    assert item.assets["landcover"].get_absolute_href() == files["landcover.tif"]


def test_a_link_opens_no_longer_than_was_asked_for_or_is_allowed(keyed: tuple[Server, dict[str, str], str]) -> None:
    server, header, job_id = keyed
    before = int(time.time())
    urls = [links(server, header, job_id, **terms)["item.json"] for terms in ({}, {"seconds": 60})]
    expiry = [int(urlsplit(url).path.split("/")[2].split(".")[1]) for url in urls]
    assert [round((at - before) / 60) for at in expiry] == [60, 1]
    too_long = server.post(f"/jobs/{job_id}/links", {"seconds": 3601}, **header)
    assert (too_long.status_code, too_long.json()["limit"]) == (422, 3600)
    assert server.post(f"/jobs/{job_id}/links", {"seconds": 0}, **header).status_code == 400
    brief = links(server, header, job_id, seconds=1)["item.json"]
    assert status(brief) == 200
    time.sleep(1.1)
    assert status(brief) == 403


def test_a_link_for_one_job_opens_no_other(keyed: tuple[Server, dict[str, str], str], scene: DemoScene) -> None:
    server, header, job_id = keyed
    other = server.post(EXECUTION, order(scene), **header).json()["jobID"]
    server.work(other)
    url = links(server, header, job_id)["item.json"]
    token = urlsplit(url).path.split("/")[2]
    assert status(f"{server.address}/links/{token}/{other}/item.json") == 403
    assert status(links(server, header, other)["item.json"]) == 200
    assert status(url.replace(job_id, other)) == 403
    assert status(f"{server.address}/links/{token}/{'0' * 32}/item.json") == 403


@pytest.mark.parametrize(
    "below",
    [
        "{job}/../{secret}",
        "{job}/%2e%2e/{secret}",
        "{job}/%2e%2e%2f{secret}",
        "{job}/..%2f..%2fledger.sqlite",
        "{job}/%252e%252e%252fledger.sqlite",
        "{job}//etc/passwd",
        "{job}/%2fetc%2fpasswd",
        "../{secret}",
        "%2e%2e/ledger.sqlite",
        "..%2fledger.sqlite/item.json",
        "{job}/.landsigma",
        "{job}/..\\{secret}",
        "{job}/{secret}%00.vrt",
        "{job}/..%2f..%2f{secret}.vrt",
        "./../ledger.sqlite",
    ],
)
def test_no_path_leads_out_of_the_results(below: str, keyed: tuple[Server, dict[str, str], str]) -> None:
    """Sent as it stands: `requests` would tidy dots away before anybody saw them."""
    server, header, job_id = keyed
    results = Path(server.settings.storage_url)
    (results / "secret.vrt").write_text("nobody's business")
    token = urlsplit(links(server, header, job_id)["item.json"]).path.split("/")[2]
    below = below.format(job=job_id, secret="secret.vrt")
    for path in (f"/links/{token}/{below}", f"/jobs/{below.replace(job_id, f'{job_id}/files', 1)}"):
        code, body = raw_get(server, path, header)
        assert code in {403, 404, 400}, (path, code)
        assert b"nobody's business" not in body
        assert b"SQLite format" not in body
        assert b"root:" not in body


@pytest.mark.parametrize("name", ["landcover.tif", "stolen.vrt"])
def test_a_symbolic_link_out_of_the_results_is_not_followed(name: str, scene: DemoScene, tmp_path: Path) -> None:
    settings = settings_for(tmp_path / "data", sources={"demo": str(scene.catalogue)})
    outside = tmp_path / "outside"
    outside.write_text("nobody's business")
    with serving(settings) as server:
        job_id = server.submit(order(scene))
        server.work(job_id)
        target = Path(settings.storage_url) / job_id / name
        target.unlink(missing_ok=True)
        target.symlink_to(outside)
        token = signer_of(settings).token(job_id, int(time.time()) + 60)
        assert target.read_text() == "nobody's business"  # as a server without the check would send it
        for path in (f"/links/{token}/{job_id}/{name}", f"/jobs/{job_id}/files/{name}"):
            assert raw_get(server, path, {})[0] == 404, path


def opened_by_gdal(path: str, folder: Path) -> tuple[NDArray[np.generic], list[str]]:
    """First band of a raster, and names of the files that GDAL takes it to be made of.

    Asked in a process of its own, since GDAL waits for the server with Python locked.
    """
    script = (
        "import numpy, rasterio, sys\n"
        "with rasterio.open(sys.argv[1]) as raster:\n"
        "    numpy.save(sys.argv[2], raster.read(1)); print(*raster.files)"
    )
    array = folder / "band.npy"
    command = [sys.executable, "-c", script, path, str(array)]
    ran = subprocess.run(command, capture_output=True, text=True, check=True, timeout=100)
    return np.load(array), [Path(urlsplit(name).path).name for name in ran.stdout.split()]


def raw_get(server: Server, path: str, header: dict[str, str]) -> tuple[int, bytes]:
    """Status and body of a GET whose path nothing tidies."""
    address = urlsplit(server.address)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=10)
    try:
        connection.putrequest("GET", path, skip_accept_encoding=True)
        for name, value in header.items():
            connection.putheader(name, value)
        connection.endheaders()
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()
