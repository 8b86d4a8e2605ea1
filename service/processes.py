"""The process over HTTP: described, executed, estimated (OGC API - Processes, core)."""

from importlib.metadata import version
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Header, Path, Response
from starlette.concurrency import run_in_threadpool

from contract.batch import Submission
from service.access import Reader, Submitter
from service.addresses import JSON, Link, Urls
from service.bodies import body_of, described
from service.description import ProcessDescription, ProcessList, description, summary
from service.estimate import CostEstimate, cost, paces_of
from service.execution import (
    EXAMPLE,
    EXAMPLE_IN_FULL,
    PROCESS_ID,
    Execution,
    Rules,
    area_of,
    request_of,
    terms_of,
)
from service.parts import InUse
from service.problems import OGC, Refused
from service.responses import refusals
from service.statuses import StatusInfo, status_info

router = APIRouter(tags=["processes"])
ProcessId = Annotated[str, Path(examples=[PROCESS_ID])]
Body = Annotated[Execution, Depends(body_of(Execution))]
_BODY: Final = described(Execution, smallest=EXAMPLE, everything=EXAMPLE_IN_FULL)
_CREATED: Final[dict[int | str, dict[str, Any]]] = {
    201: {
        "headers": {
            "Location": {"schema": {"type": "string"}, "description": "The job's status."},
            "Preference-Applied": {
                "schema": {"type": "string"},
                "description": '"respond-async" where it was preferred.',
            },
        }
    }
}
_IDEMPOTENCY: Final = "The same key and request again get the same job, and change nothing."


@router.get("/processes", operation_id="getProcesses", response_model_exclude_none=True, responses=refusals(401, 403))
def get_processes(urls: Urls, _caller: Reader) -> ProcessList:
    """The processes of this server: there is one."""
    links = (Link(href=urls.of("/processes"), rel="self", type=JSON),)
    return ProcessList(processes=(summary(version("landsigma"), urls),), links=links)


@router.get(
    "/processes/{process_id}",
    operation_id="getProcessDescription",
    response_model_exclude_none=True,
    responses=refusals(401, 403, 404),
)
def get_process(process_id: ProcessId, parts: InUse, urls: Urls, _caller: Reader) -> ProcessDescription:
    """Inputs and outputs of a process, with a JSON schema for each."""
    _check_process(process_id)
    manifests = {name: bundle.manifest for name, bundle in parts.shelves.bundles().items()}
    return description(version("landsigma"), urls, tuple(parts.settings.sources), manifests)


@router.post(
    "/processes/{process_id}/execution",
    operation_id="execute",
    status_code=201,
    response_model_exclude_none=True,
    responses=_CREATED | refusals(400, 401, 403, 404, 409, 413, 422, 429),
    openapi_extra=_BODY,
)
async def execute(  # noqa: PLR0913, PLR0917  FastAPI's: each is a part of the request
    process_id: ProcessId,
    caller: Submitter,
    execution: Body,
    parts: InUse,
    response: Response,
    urls: Urls,
    prefer: Annotated[str, Header(examples=["respond-async"])] = "",
    idempotency_key: Annotated[
        str | None, Header(min_length=1, max_length=255, pattern=r"^[!-~]+$", description=_IDEMPOTENCY)
    ] = None,
) -> StatusInfo:
    """Submit a job. The answer comes once the job is on disk; it is worked later.

    Execution is asynchronous, preferred or not: `jobControlOptions` of the process says so.
    """
    _check_process(process_id)
    rules = Rules.of(parts.settings)
    area = area_of(execution, caller)
    submission = Submission(
        request=request_of(execution, area, parts.shelves, rules),
        terms=terms_of(execution, caller, rules, idempotency_key),
        limits=caller.limits,
        sent_at=parts.database.now() if parts.sender.sends else None,
    )
    status = await parts.submissions.submit(submission)
    response.headers["Location"] = urls.job(status.job_id)
    if "respond-async" in prefer:
        response.headers["Preference-Applied"] = "respond-async"
    return status_info(status, urls, parts.database.now())


@router.post(
    "/processes/{process_id}/estimate",
    operation_id="estimate",
    response_model_exclude_none=True,
    responses=refusals(400, 401, 403, 404, 413, 422),
    openapi_extra=_BODY,
)
async def estimate(process_id: ProcessId, caller: Submitter, execution: Body, parts: InUse) -> CostEstimate:
    """What a job would cost, without submitting it. Whatever would be refused there is refused here.

    No source is asked: it is area, pixels and blocks, and time at the pace of past jobs.
    """
    _check_process(process_id)
    rules = Rules.of(parts.settings)
    area = area_of(execution, caller)
    asked = request_of(execution, area, parts.shelves, rules)
    terms_of(execution, caller, rules, None)
    resolution_m = parts.shelves.find(asked.bundle, "inputs.bundle", 422).manifest.resolution_m
    paces = await run_in_threadpool(paces_of, parts.ledger, caller.listed_owner, asked.bundle)
    return cost(area, resolution_m=resolution_m, block_px=asked.options.block_px, paces=paces)


def _check_process(process_id: str) -> None:
    if process_id != PROCESS_ID:
        detail = f"there is no process {process_id!r}; there is {PROCESS_ID!r}"
        raise Refused(404, detail, kind=f"{OGC}no-such-process", field="path.process_id", value=process_id)
