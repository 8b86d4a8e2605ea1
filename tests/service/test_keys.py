"""Who gets in, who sees what, and how much one may ask for."""

import re
import socket
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import requests

from contract.database import Database
from contract.errors import KeysNeeded
from contract.keys import KeyStore, NewKey, Scope
from contract.submission import Limits
from service.keys import check_address
from service.limits import limits_of
from service.parts import opened
from tests.service.serving import EXECUTION, Server, order, serving, settings_for
from workers.demo.scene import DemoScene

MakeKey = Callable[..., NewKey]
OPEN = {"/", "/conformance", "/api", "/health", "/ready", "/metrics", "/links/{token}/{folder}/{name}"}
"""What needs no key."""


@pytest.fixture
def keyed(tmp_path: Path, scene: DemoScene) -> Iterator[tuple[Server, MakeKey]]:
    """An API with keys, and what makes another one."""
    settings = settings_for(tmp_path, sources={"demo": str(scene.catalogue)})
    with serving(settings) as server, Database.open(settings.database_url.get_secret_value()) as database:

        def make(*scopes: Scope, **terms: object) -> NewKey:
            return KeyStore(database).create("test", scopes=scopes or tuple(Scope), **terms)

        make()
        yield server, make


def bearer(key: NewKey) -> dict[str, str]:
    return {"Authorization": f"Bearer {key.token}"}


def test_without_keys_this_machine_alone_is_let_in_and_the_operator_is_told(tmp_path: Path) -> None:
    settings = settings_for(tmp_path)
    with Database.open(settings.database_url.get_secret_value()) as database:
        keys = KeyStore(database)
        assert "only programs on this machine" in (check_address(settings, keys) or "")
        beyond = settings_for(tmp_path, host="0.0.0.0")
        with pytest.raises(KeysNeeded, match=r"0\.0\.0\.0.*keys create"):
            check_address(beyond, keys)
        key = keys.create("first", scopes=[Scope.READ]).key
        assert check_address(beyond, keys) is None
        keys.revoke(key.id)
        with pytest.raises(KeysNeeded):
            check_address(beyond, keys)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "maps.example.org", "127.0.0.1.example.org", ""])
def test_a_server_that_others_reach_does_not_start_without_keys(host: str, tmp_path: Path) -> None:
    settings = settings_for(tmp_path, host=host)
    with pytest.raises(KeysNeeded), opened(settings):
        pass


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "rebound.example.org"},
        {"Origin": "https://evil.example.org"},
        {"Origin": "null"},
        {"X-Forwarded-For": "192.0.2.7"},
        {"Forwarded": "for=192.0.2.7"},
    ],
    ids=lambda headers: next(iter(headers)) + " " + next(iter(headers.values())),
)
def test_without_keys_a_web_page_or_a_proxy_on_this_machine_is_refused(headers: dict[str, str], other: Server) -> None:
    assert other.get("/jobs").status_code == 200
    refused = other.get("/jobs", headers=headers)
    assert refused.status_code == 403
    assert refused.json()["type"].endswith("keys-needed")


def test_without_keys_another_machine_is_refused_though_a_socket_was_handed_over(other: Server) -> None:
    """The settings say loopback; a request that arrives from elsewhere all the same is seen by its address."""
    from fastapi import Request  # noqa: PLC0415

    from service.keys import KeyAccess  # noqa: PLC0415
    from service.problems import Refused  # noqa: PLC0415

    scope = {
        "type": "http",
        "method": "GET",
        "path": "/jobs",
        "query_string": b"",
        "headers": [(b"host", b"127.0.0.1")],
    }
    with Database.open(other.settings.database_url.get_secret_value()) as database:
        access = KeyAccess(keys=KeyStore(database), limits=Limits())
        assert access.caller(Request(scope | {"client": ("127.0.0.1", 5000)})).owner == "local"
        with pytest.raises(Refused, match="own machine"):
            access.caller(Request(scope | {"client": ("192.0.2.7", 5000)}))


def test_from_the_first_key_on_nobody_comes_in_without_one(keyed: tuple[Server, MakeKey]) -> None:
    server, make = keyed
    missing = server.get("/jobs")
    assert missing.status_code == 401
    assert missing.headers["WWW-Authenticate"] == "Bearer"
    assert server.get("/jobs", headers=bearer(make())).status_code == 200
    assert server.get("/jobs", headers={"X-API-Key": make().token}).status_code == 200
    assert server.get(f"/jobs?key={make().token}").status_code == 401


def test_nothing_else_of_a_request_is_looked_at_before_its_key(keyed: tuple[Server, MakeKey]) -> None:
    server, _ = keyed
    paths = server.get("/api").json()["paths"]
    operations = [(method, path) for path in paths.keys() - OPEN for method in paths[path]]
    answers = {}
    for method, path in operations:
        url = f"{server.address}{re.sub(r'{[a-z_]+}', '!', path)}?limit=x&limit=y"
        answers[method, path] = requests.request(method, url, data="{", timeout=30).status_code
    assert len(operations) > 25
    assert answers == dict.fromkeys(operations, 401)


def test_revoking_the_last_key_opens_the_server_to_nobody(tmp_path: Path) -> None:
    settings = settings_for(tmp_path)
    with serving(settings) as server, Database.open(settings.database_url.get_secret_value()) as database:
        keys = KeyStore(database)
        key = keys.create("only", scopes=[Scope.READ])
        assert server.get("/jobs", headers=bearer(key)).status_code == 200
        keys.revoke(key.key.id)
        assert server.get("/jobs").status_code == 401
        assert server.get("/jobs", headers=bearer(key)).status_code == 401


def test_a_key_that_expired_was_changed_or_never_was_opens_nothing(keyed: tuple[Server, MakeKey]) -> None:
    server, make = keyed
    expired = make(expires=datetime.now(UTC) - timedelta(seconds=1))
    good = make()
    flipped = good.token[:-1] + ("A" if good.token[-1] != "A" else "B")
    other_id = good.token.replace(good.key.id, expired.key.id)
    for token in (expired.token, flipped, other_id, "", "lsk_", "lsk__", "é", good.token.encode().hex()):
        answer = requests.get(f"{server.address}/jobs", headers={"X-API-Key": token.encode()}, timeout=10)
        assert answer.status_code == 401, token


def test_a_key_does_what_its_scopes_say_and_no_more(keyed: tuple[Server, MakeKey], scene: DemoScene) -> None:
    server, make = keyed
    reader, submitter = bearer(make(Scope.READ)), bearer(make(Scope.SUBMIT))
    assert server.get("/jobs", headers=reader).status_code == 200
    refused = server.post(EXECUTION, order(scene), **reader)
    assert (refused.status_code, "'submit'" in refused.json()["detail"]) == (403, True)
    assert server.post(EXECUTION, order(scene), **submitter).status_code == 201
    assert server.get("/jobs", headers=submitter).status_code == 403
    assert server.post("/schedules", {}, **reader).status_code == 403


def test_owners_see_their_own_jobs_and_are_told_of_no_others(keyed: tuple[Server, MakeKey], scene: DemoScene) -> None:
    server, make = keyed
    ours, theirs, admin = make(Scope.READ, Scope.SUBMIT), make(Scope.READ, Scope.SUBMIT), make(Scope.ADMIN)
    job_id = server.post(EXECUTION, order(scene), **bearer(ours)).json()["jobID"]
    paths = [f"/jobs/{job_id}{below}" for below in ("", "/results", "/files/landcover.tif", "/results/landcover")]
    for path in paths:
        assert server.get(path, headers=bearer(theirs)).status_code == 404, path
        unknown = server.get(path.replace(job_id, "0" * 32), headers=bearer(theirs)).json()
        hidden = server.get(path, headers=bearer(theirs)).json()
        assert str(hidden).replace(job_id, "0" * 32) == str(unknown)
    gone = requests.delete(f"{server.address}/jobs/{job_id}", headers=bearer(theirs), timeout=10)
    assert gone.status_code == 404
    assert server.post(f"/jobs/{job_id}/links", {}, **bearer(theirs)).status_code == 404
    lists = {owner: server.get("/jobs", headers=bearer(owner)).json()["jobs"] for owner in (ours, theirs, admin)}
    assert [len(jobs) for jobs in lists.values()] == [1, 0, 1]
    assert server.get(f"/jobs/{job_id}", headers=bearer(ours)).json()["status"] == "accepted"


def test_a_keys_limits_are_its_own_or_else_the_servers() -> None:
    default = Limits(area_km2=100, jobs_at_once=3, jobs_per_hour=None)
    assert limits_of(Limits(), default) == default
    assert limits_of(Limits(area_km2=5, jobs_per_hour=7), default) == Limits(
        area_km2=5, jobs_at_once=3, jobs_per_hour=7
    )


def test_a_key_that_reached_its_limit_is_told_when_to_come_back_and_others_go_on(
    keyed: tuple[Server, MakeKey], scene: DemoScene
) -> None:
    server, make = keyed
    narrow, wide = make(limits=Limits(jobs_at_once=1)), make()
    small = make(limits=Limits(area_km2=1))
    assert server.post(EXECUTION, order(scene), **bearer(narrow)).status_code == 201
    refused = server.post(EXECUTION, order(scene), **bearer(narrow))
    assert refused.status_code == 429
    assert int(refused.headers["Retry-After"]) > 0
    assert (refused.json()["limit"], refused.json()["position"]) == (1, 2)
    assert server.post(EXECUTION, order(scene), **bearer(wide)).status_code == 201
    too_large = server.post(EXECUTION, order(scene), **bearer(small))
    assert (too_large.status_code, too_large.json()["limit"]) == (422, 1.0)
    assert too_large.json()["value"] > 1


def test_no_address_of_a_source_is_read_for_a_user(other: Server, scene: DemoScene) -> None:
    """A listener stands where the request points; nobody comes, neither in the API nor by a job that it would make."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.settimeout(0.3)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/catalog.json"
        for source in (url, f"file://{scene.catalogue}", str(scene.catalogue), "demo/../demo", f"/vsicurl/{url}"):
            refused = other.post(EXECUTION, order(scene, source=source))
            assert (refused.status_code, refused.json()["field"]) == (422, "inputs.source"), source
        for bundle in (url, str(scene.catalogue.parent), "../models/spectral-rules", "/etc", "."):
            refused = other.post(EXECUTION, order(scene, bundle=bundle))
            assert (refused.status_code, refused.json()["field"]) == (422, "inputs.bundle"), bundle
        for crs in (url, "/etc/passwd", f'PROJCS["x",{url}]', "+proj=utm +zone=33 +nadgrids=/etc/passwd"):
            assert other.post(EXECUTION, order(scene, options={"crs": crs})).status_code == 400, crs
        called = {**order(scene), "subscriber": {"successUri": url.replace("http", "https")}}
        assert other.post(EXECUTION, called).status_code == 422
        with pytest.raises(TimeoutError):
            listener.accept()
