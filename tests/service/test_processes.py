"""Submitting jobs, and asking what they would cost."""

import jsonschema
import pytest
import requests

from contract.ledger import Ledger
from tests.service.serving import EXECUTION, Server, bounds, order
from workers.demo.scene import DemoScene

ESTIMATE = "/processes/land-cover/estimate"


def ledger_of(server: Server) -> Ledger:
    return Ledger.open(server.settings.database_url.get_secret_value())


def test_an_accepted_job_is_in_the_ledger_as_it_was_asked_for(server: Server, scene: DemoScene) -> None:
    body = order(
        scene, title="a title", priority=2, queue="blocks.gpu", options={"block_px": 128, "modalities": ["s2"]}
    )
    answer = server.post(EXECUTION, body, Prefer="respond-async")
    assert answer.status_code == 201
    told = answer.json()
    assert answer.headers["Location"] == f"{server.address}/jobs/{told['jobID']}"
    assert answer.headers["Preference-Applied"] == "respond-async"
    assert (told["status"], told["title"], told["priority"]) == ("accepted", "a title", 2)
    with ledger_of(server) as ledger:
        job = ledger.job(told["jobID"])
    assert job.request.start == scene.start
    assert job.request.options.block_px == 128
    west, south, east, north = bounds(scene)
    assert set(job.request.area.coordinates[0][0]) == {(west, south), (east, south), (east, north), (west, north)}
    assert server.get(f"/jobs/{told['jobID']}").json()["created"] == told["created"]


def test_execution_is_asynchronous_without_being_asked_to_be(server: Server, scene: DemoScene) -> None:
    answer = server.post(EXECUTION, order(scene))
    assert answer.status_code == 201
    assert "Preference-Applied" not in answer.headers


def test_outputs_are_asked_for_in_ogcs_place(server: Server, scene: DemoScene) -> None:
    job_id = server.submit(order(scene) | {"outputs": {"landcover": {}, "probabilities": {}}})
    with ledger_of(server) as ledger:
        assert ledger.job(job_id).request.options.outputs == ("probabilities",)


def test_the_same_idempotency_key_makes_one_job(server: Server, scene: DemoScene) -> None:
    answers = [server.post(EXECUTION, order(scene), **{"Idempotency-Key": "once"}) for _ in range(3)]
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["jobID"] for answer in answers}) == 1
    other = server.post(EXECUTION, order(scene, options={"block_px": 64}), **{"Idempotency-Key": "once"})
    assert other.status_code == 409
    assert other.json()["value"] == "once"


@pytest.mark.parametrize(
    ("inputs", "field", "value"),
    [
        ({"source": "https://evil.example.org/stac"}, "inputs.source", "https://evil.example.org/stac"),
        ({"source": "/etc/passwd"}, "inputs.source", "/etc/passwd"),
        ({"bundle": "../../etc"}, "inputs.bundle", "../../etc"),
        ({"bundle": "none"}, "inputs.bundle", "none"),
        ({"options": {"outputs": ["nothing"]}}, "outputs", "nothing"),
        ({"end": "2001-01-01"}, "inputs.end", "2001-01-01T00:00:00+00:00"),
    ],
)
def test_what_cannot_be_done_names_field_and_value(
    server: Server, scene: DemoScene, inputs: dict[str, object], field: str, value: str
) -> None:
    for path in (EXECUTION, ESTIMATE):
        answer = server.post(path, order(scene, **inputs))
        assert answer.status_code == 422
        assert answer.headers["content-type"] == "application/problem+json"
        assert (answer.json()["field"], answer.json()["value"]) == (field, value)


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"start": 5}, "body.inputs.start"),
        ({"start": "2021-04-01T00:00:00"}, "body.inputs.start"),
        ({"priority": "5"}, "body.inputs.priority"),
        ({"options": {"crs": "/vsicurl/http://evil.example.org/x.wkt"}}, "body.inputs.options.options.crs"),
        ({"options": {"block_px": 1}}, "body.inputs.options.options.block_px"),
        ({"unknown": 1}, "body.inputs.unknown"),
        ({"area": {"href": "https://evil.example.org/aoi.json"}}, "body.inputs.area"),
    ],
)
def test_what_does_not_fit_the_description_names_the_field(
    server: Server, scene: DemoScene, changed: dict[str, object], field: str
) -> None:
    answer = server.post(EXECUTION, order(scene, **changed))
    assert answer.status_code == 400
    assert field in {fault["field"] for fault in answer.json()["errors"]}


def test_an_area_above_the_limit_is_refused_with_both_numbers(other: Server) -> None:
    inputs = {"area": {"bbox": [11, 46, 12, 47]}, "start": "2024-06-01", "end": "2024-07-01"}
    answer = other.post(EXECUTION, {"inputs": inputs | {"source": "demo", "bundle": "spectral-rules"}})
    assert answer.status_code == 422
    assert answer.json()["limit"] == 50
    assert answer.json()["value"] == pytest.approx(8_600, rel=0.02)  # 77 km by 111 km


@pytest.mark.parametrize("uri", ["http://127.0.0.1/", "https://other.example.org/", "https://user@hook.example.org/"])
def test_callbacks_go_to_allowed_hosts_only(server: Server, scene: DemoScene, uri: str) -> None:
    answer = server.post(EXECUTION, order(scene) | {"subscriber": {"successUri": uri}})
    assert (answer.status_code, answer.json()["field"]) == (422, "subscriber.successUri")


def test_a_body_that_is_too_large_is_not_read(server: Server) -> None:
    answer = requests.post(f"{server.address}{EXECUTION}", data=b"x" * 5_000_001, timeout=30)
    assert answer.status_code == 413
    assert answer.headers["content-type"] == "application/problem+json"


def test_an_estimate_counts_area_pixels_and_blocks_and_submits_nothing(
    server: Server, scene: DemoScene, finished: str
) -> None:
    before = len(server.get("/jobs?limit=1000").json()["jobs"])
    cost = server.post(ESTIMATE, order(scene, options={"block_px": 128})).json()
    with ledger_of(server) as ledger:
        result = ledger.job(finished).result
    assert result is not None
    assert cost["megapixels"] == pytest.approx(result.aoi_px / 1e6, rel=0.02)
    assert cost["area_km2"] == pytest.approx(100 * cost["megapixels"], rel=0.01)
    assert cost["blocks"] in {4, 6, 9}  # 230 by 278 px in blocks of 128 px, wherever the grid begins
    took_s = (result.finished - result.started).total_seconds()
    assert cost["expected_s"] == pytest.approx(took_s, rel=0.05, abs=0.05)  # it is given in tenths
    assert len(server.get("/jobs?limit=1000").json()["jobs"]) == before


def test_the_described_schema_of_every_input_takes_the_example(server: Server, scene: DemoScene) -> None:
    described = server.get("/processes/land-cover").json()
    inputs = order(scene)["inputs"]
    for name, entry in described["inputs"].items():
        jsonschema.Draft202012Validator.check_schema(entry["schema"])
        if name in inputs:
            jsonschema.validate(inputs[name], entry["schema"])
        else:
            assert entry["minOccurs"] == 0
    assert described["inputs"]["source"]["schema"]["enum"] == ["demo"]
    assert "spectral-rules" in described["inputs"]["bundle"]["schema"]["enum"]
    assert described["jobControlOptions"] == ["async-execute", "dismiss"]


def test_there_is_no_other_process(server: Server, scene: DemoScene) -> None:
    answer = server.post("/processes/other/execution", order(scene))
    assert answer.status_code == 404
    assert answer.json()["type"].endswith("/no-such-process")
