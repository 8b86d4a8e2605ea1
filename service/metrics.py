"""Figures for Prometheus. What is about jobs comes from the ledger, so every server and every restart says the same."""

import time
from collections.abc import Iterator
from typing import Final

from fastapi import APIRouter, FastAPI, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from contract.submission import Queue
from service.parts import InUse, Parts
from service.responses import content, refusals

router = APIRouter(tags=["operation"])
_PLAIN: Final = "text/plain"
_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


@router.get(
    "/metrics",
    operation_id="metrics",
    response_class=Response,
    responses=content(_PLAIN, {"type": "string"}) | refusals(),
)
def metrics(request: Request, parts: InUse) -> Response:
    """Figures in Prometheus' text format: jobs, blocks, queues, retries, lost leases, and this server's requests."""
    content = generate_latest(_Ledger(parts)) + generate_latest(request.app.state.requests)
    return Response(content, headers={"Content-Type": CONTENT_TYPE_LATEST})


def count_requests(app: FastAPI) -> None:
    """Time every request of an application."""
    registry = CollectorRegistry()
    app.state.requests = registry
    seconds = Histogram(
        "landsigma_http_request_seconds",
        "Time until the last byte of an answer, by route.",
        ("method", "route", "status"),
        registry=registry,
        buckets=_SECONDS,
    )
    app.add_middleware(_Stopwatch, seconds=seconds)


class _Stopwatch:
    """ASGI middleware. Routes, not paths, name the series: paths are without end."""

    def __init__(self, app: ASGIApp, seconds: Histogram) -> None:
        self._app, self._seconds = app, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun, status = time.perf_counter(), 500

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noting)
        finally:
            route = getattr(scope.get("route"), "path", "none")
            self._seconds.labels(scope["method"], route, status).observe(time.perf_counter() - begun)


class _Ledger(Collector):
    """Figures of the ledger, read when they are asked for."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def collect(self) -> Iterator[Metric]:
        """Every figure."""
        totals = self._parts.ledger.totals()
        jobs = GaugeMetricFamily("landsigma_jobs", "Jobs by state.", labels=["state"])
        for state, count in totals.jobs.items():
            jobs.add_metric([state.value], count)
        yield jobs
        blocks = CounterMetricFamily("landsigma_blocks", "Blocks that are done.", labels=["provider"])
        for provider, count in totals.providers.items():
            blocks.add_metric([provider], count)
        yield blocks
        yield CounterMetricFamily("landsigma_mapped_pixels", "Pixels that were mapped.", value=totals.mapped_px)
        yield CounterMetricFamily(
            "landsigma_read_seconds", "Reading and compositing, summed over blocks.", value=totals.read_s
        )
        yield CounterMetricFamily(
            "landsigma_inference_seconds", "The model, summed over blocks.", value=totals.inference_s
        )
        yield CounterMetricFamily("landsigma_retries", "Steps that failed and were tried again.", value=totals.retries)
        yield CounterMetricFamily(
            "landsigma_lease_expiries", "Steps whose worker never came back.", value=totals.expiries
        )
        depth = GaugeMetricFamily("landsigma_queue_in_flight", "Steps that are sent or being worked.", labels=["queue"])
        for queue in Queue:
            sent = self._parts.dispatch.in_flight(queue, resend_s=self._parts.settings.resend_s)
            depth.add_metric([queue.value], sent)
        yield depth
