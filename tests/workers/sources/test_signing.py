"""Tokens of the Planetary Computer, from a server on this machine."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from contract.errors import SourceUnreachable, SourceUnusable
from tests.servers import running
from workers.sources import Signer, http
from workers.sources.signing import Signing

HREF = "https://sentinel2l2a01.blob.core.windows.net/sentinel2-l2/06/V/VN/B02.tif"
RADAR = "https://sentinel1euwestrtc.blob.core.windows.net/sentinel1-grd-rtc/GRD/vv.tiff"


class Tokens:
    """A token endpoint: numbers its tokens, after some failures."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.lifetime = timedelta(hours=1)
        self.statuses: list[int] = []
        self.app = Starlette(routes=[Route("/token/{account}/{container}", self.answer)])

    def answer(self, asked: Request) -> Response:
        self.asked.append("/".join(asked.path_params.values()))
        if self.statuses:
            return Response("no", self.statuses.pop(0))
        time.sleep(0.05)  # long enough for every thread to come by
        expiry = (datetime.now(UTC) + self.lifetime).strftime("%Y-%m-%dT%H:%M:%SZ")
        return JSONResponse({"msft:expiry": expiry, "href": "not asked for", "token": f"sig={len(self.asked)}%3D"})


@pytest.fixture
def tokens() -> Tokens:
    return Tokens()


@pytest.fixture
def endpoint(tokens: Tokens, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(http, "BACKOFF_S", 0.0)
    with running(tokens.app) as address:
        yield f"{address}/token"


def test_an_href_gets_the_token_of_its_container(tokens: Tokens, endpoint: str) -> None:
    signer = Signer(endpoint=endpoint)
    assert signer.readable(HREF, "planetary-computer") == f"{HREF}?sig=1%3D"
    assert signer.readable(RADAR, "planetary-computer") == f"{RADAR}?sig=2%3D"
    assert tokens.asked == ["sentinel2l2a01/sentinel2-l2", "sentinel1euwestrtc/sentinel1-grd-rtc"]


def test_many_threads_share_one_token(tokens: Tokens, endpoint: str) -> None:
    signer = Signer(endpoint=endpoint)
    with ThreadPoolExecutor(16) as pool:
        hrefs = set(pool.map(lambda _: signer.readable(HREF, "planetary-computer"), range(64)))
    assert hrefs == {f"{HREF}?sig=1%3D"}
    assert len(tokens.asked) == 1


def test_a_token_is_renewed_shortly_before_it_expires(tokens: Tokens, endpoint: str) -> None:
    signer = Signer(endpoint=endpoint)
    tokens.lifetime = timedelta(minutes=4)
    assert signer.readable(HREF, "planetary-computer") != signer.readable(HREF, "planetary-computer")
    tokens.lifetime = timedelta(minutes=6)
    assert signer.readable(HREF, "planetary-computer") == signer.readable(HREF, "planetary-computer")


def test_a_forgotten_token_is_asked_for_again(endpoint: str) -> None:
    signer = Signer(endpoint=endpoint, young_s=0)
    first = signer.readable(HREF, "planetary-computer")
    signer.forget(HREF, "planetary-computer")
    assert signer.readable(HREF, "planetary-computer") != first


def test_threads_that_are_refused_together_ask_for_one_new_token(tokens: Tokens, endpoint: str) -> None:
    signer = Signer(endpoint=endpoint, young_s=0.5)
    signer.readable(HREF, "planetary-computer")
    time.sleep(0.6)

    def refused(_: int) -> str:
        signer.forget(HREF, "planetary-computer")
        return signer.readable(HREF, "planetary-computer")

    with ThreadPoolExecutor(16) as pool:
        assert set(pool.map(refused, range(32))) == {f"{HREF}?sig=2%3D"}
    assert len(tokens.asked) == 2


@pytest.mark.parametrize(
    ("href", "signing"),
    [
        ("/data/B02.tif", "planetary-computer"),
        ("https://example.org/B02.tif", "planetary-computer"),
        (f"{HREF}?sig=given", "planetary-computer"),
        (HREF, None),
        ("s3://sentinel-s2-l2a/B02.jp2", None),
    ],
)
def test_what_needs_no_token_passes_unchanged(tokens: Tokens, endpoint: str, href: str, signing: Signing) -> None:
    signer = Signer(endpoint=endpoint)
    assert signer.readable(href, signing) == href
    signer.forget(href, signing)
    assert tokens.asked == []


def test_a_busy_endpoint_is_asked_again(tokens: Tokens, endpoint: str) -> None:
    tokens.statuses = [503, 429]
    assert Signer(endpoint=endpoint).readable(HREF, "planetary-computer") == f"{HREF}?sig=3%3D"


def test_an_endpoint_that_stays_broken_is_unreachable(tokens: Tokens, endpoint: str) -> None:
    tokens.statuses = [503] * 10
    with pytest.raises(SourceUnreachable, match="sentinel2l2a01/sentinel2-l2"):
        Signer(endpoint=endpoint).readable(HREF, "planetary-computer")


def test_threads_that_wait_for_a_broken_endpoint_fail_with_its_first_answer(tokens: Tokens, endpoint: str) -> None:
    tokens.statuses = [503] * 100
    signer = Signer(endpoint=endpoint)
    with ThreadPoolExecutor(8) as pool:
        reads = [pool.submit(signer.readable, HREF, "planetary-computer") for _ in range(8)]
    assert all(isinstance(read.exception(), SourceUnreachable) for read in reads)
    assert len(tokens.asked) == 6  # one request and its five retries


def test_a_refused_container_is_said_once(tokens: Tokens, endpoint: str) -> None:
    tokens.statuses = [403]
    with pytest.raises(SourceUnusable, match="no token for sentinel2l2a01/sentinel2-l2: HTTP status 403"):
        Signer(endpoint=endpoint).readable(HREF, "planetary-computer")
