"""Landing page, standards, refusals, bundles, health and figures."""

import json
from pathlib import Path

import jsonschema
import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import Engine, create_engine

from service.shelves import SHIPPED
from tests.service.serving import EXECUTION, Server, order, serving, settings_for
from workers.demo.scene import DemoScene

PROBLEM = "application/problem+json"


def test_every_link_of_the_landing_page_leads_somewhere(server: Server, finished: str) -> None:  # noqa: ARG001
    page = server.get("/").json()
    for link in page["links"]:
        answer = requests.request(link.get("method", "GET"), link["href"], json={}, timeout=30)
        assert answer.status_code == 200, link
        if link["type"] != "text/html" and link.get("method") != "POST":
            assert answer.headers["content-type"].startswith(link["type"].partition(";")[0])


def test_a_browser_gets_a_page_with_links(server: Server) -> None:
    answer = server.get("/", headers={"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"})
    assert answer.headers["content-type"].startswith("text/html")
    for path in ("/api", "/processes", "/jobs", "/bundles", "/collections"):
        assert f'href="{server.address}{path}"' in answer.text


def test_links_follow_the_public_address(tmp_path: Path) -> None:
    with serving(settings_for(tmp_path, public_url="https://maps.example.org/api")) as running:
        links = running.get("/").json()["links"]
    assert all(link["href"].startswith("https://maps.example.org/api/") for link in links)


def test_processes_is_conformed_to_in_every_class(server: Server) -> None:
    classes = server.get("/conformance").json()["conformsTo"]
    for name in ("core", "ogc-process-description", "json", "oas30", "job-list", "dismiss", "callback"):
        assert f"http://www.opengis.net/spec/ogcapi-processes-1/1.0/conf/{name}" in classes


def test_every_operation_is_named_tagged_and_explained(server: Server) -> None:
    api = server.get("/api").json()
    operations = [operation for path in api["paths"].values() for operation in path.values()]
    names = [operation["operationId"] for operation in operations]
    assert len(set(names)) == len(names)
    tags = {tag["name"] for tag in api["tags"]}
    for operation in operations:
        assert set(operation["tags"]) <= tags
        assert operation["description"]
        assert "HTTPValidationError" not in json.dumps(operation)


def test_the_description_uses_no_word_that_openapi_30_does_not_know(server: Server) -> None:
    api = server.get("/api").json()
    assert api["openapi"] == "3.0.3"

    def check(schema: object) -> None:
        if isinstance(schema, list):
            for entry in schema:
                check(entry)
        elif isinstance(schema, dict):
            assert not {"const", "prefixItems", "$defs"} & set(schema)
            assert schema.get("type") != "null"
            assert not isinstance(schema.get("exclusiveMinimum"), float)
            for key, entry in schema.items():
                if key not in {"example", "examples", "default"}:
                    check(entry)

    check(api["components"]["schemas"])


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("PUT", "/jobs", 405),
        ("PATCH", "/jobs/x", 405),
        ("GET", "/jobs/x", 404),
        ("GET", "/jobs?limit=x", 400),
        ("POST", "/search", 400),
        ("POST", "/processes/land-cover/execution", 400),
        ("GET", "/collections/x", 404),
        ("GET", "/bundles/x", 404),
    ],
)
def test_every_refusal_is_a_problem_document(server: Server, method: str, path: str, status: int) -> None:
    answer = requests.request(method, f"{server.address}{path}", timeout=30)
    assert (answer.status_code, answer.headers["content-type"]) == (status, PROBLEM)
    schema = server.get("/api").json()["components"]["schemas"]["Problem"]
    problem = answer.json()
    assert set(schema["required"]) <= set(problem) <= set(schema["properties"])
    assert (problem["status"], problem["instance"]) == (status, path.partition("?")[0])


def test_a_method_that_is_not_allowed_learns_which_are(server: Server) -> None:
    answer = requests.patch(f"{server.address}/jobs/x", timeout=30)
    assert answer.headers["Allow"] == "DELETE, GET"


def test_bundles_come_with_their_cards(server: Server) -> None:
    (bundle,) = [entry for entry in server.get("/bundles").json()["bundles"] if entry["name"] == "spectral-rules"]
    manifest = json.loads((SHIPPED / "spectral-rules" / "manifest.json").read_text())
    assert bundle["version"] == manifest["version"]
    assert set(bundle["outputs"]) == {output["name"] for output in manifest["outputs"]}
    card = server.get("/bundles/spectral-rules/card")
    if manifest.get("card"):
        assert bundle["card"] == card.text == (SHIPPED / "spectral-rules" / manifest["card"]).read_text()
    else:
        assert card.status_code == 404
    assert server.get("/bundles/spectral-rules").json()["manifest"]["name"] == manifest["name"]


def test_a_server_without_a_broker_is_alive_and_not_ready(server: Server) -> None:
    assert server.get("/health").json() == {"status": "alive"}
    answer = server.get("/ready")
    assert answer.status_code == 503
    assert answer.json() == {"ready": False, "database": True, "broker": False, "storage": True}


@pytest.mark.parametrize(("method", "path"), [("GET", "/jobs"), ("POST", EXECUTION)])
def test_a_database_whose_connections_are_all_in_use_is_away_for_a_while(
    scene: DemoScene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, path: str
) -> None:
    engines: list[Engine] = []

    def small(url: str, **options: object) -> Engine:
        engines.append(create_engine(url, pool_size=1, max_overflow=0, pool_timeout=0.05, **options))
        return engines[-1]

    monkeypatch.setattr("contract.database.create_engine", small)
    with serving(settings_for(tmp_path, sources={"demo": str(scene.catalogue)}, sweep_s=600)) as running:
        url, body = f"{running.address}{path}", order(scene)
        with engines[0].connect():
            answer = requests.request(method, url, json=body, timeout=30)
            assert not running.get("/ready").json()["database"]
        assert requests.request(method, url, json=body, timeout=30).ok
    assert (answer.status_code, answer.headers["content-type"]) == (503, PROBLEM)
    assert answer.json()["type"].endswith(":ledger-unusable")
    assert int(answer.headers["Retry-After"]) > 0


def test_figures_count_jobs_blocks_and_requests(other: Server, scene: DemoScene) -> None:
    other.submit(order(scene))
    done = other.submit(order(scene, options={"block_px": 128}))
    other.work(done)
    blocks = other.get(f"/jobs/{done}").json()["blocksDone"]
    samples = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(other.get("/metrics").text)
        for sample in family.samples
    }
    assert samples["landsigma_jobs", "accepted"] == 1
    assert samples["landsigma_jobs", "successful"] == 1
    assert samples["landsigma_blocks_total", "CPUExecutionProvider"] == blocks
    report = other.get(f"/jobs/{done}/results/report").json()
    assert samples["landsigma_mapped_pixels_total",] == report["mapped_px"]
    for step in ("read", "inference"):
        assert samples[f"landsigma_{step}_seconds_total",] == pytest.approx(report["timings_s"][step])
    posted = ("landsigma_http_request_seconds_count", "POST", "/processes/{process_id}/execution", "201")
    assert samples[posted] == 2


def test_every_example_of_the_description_fits_its_schema(server: Server) -> None:
    api = server.get("/api").json()
    for path in ("/processes/{process_id}/execution", "/search"):
        content = api["paths"][path]["post"]["requestBody"]["content"]["application/json"]
        assert content["examples"]
        for example in content["examples"].values():
            schema = {**content["schema"], "components": api["components"]}
            jsonschema.Draft4Validator(schema).validate(example["value"])
