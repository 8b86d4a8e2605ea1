"""The HTTP application."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Final

from fastapi import APIRouter, FastAPI

from contract.settings import Settings
from service import bundles, files, health, jobs, landing, links, metrics, processes, results, schedules, stac
from service.metrics import count_requests
from service.openapi import DESCRIPTION, TAGS, describe
from service.parts import opened
from service.problems import answer_problems

ROUTERS: Final[tuple[APIRouter, ...]] = (
    landing.router,
    processes.router,
    jobs.router,
    results.router,
    files.router,
    links.router,
    schedules.router,
    bundles.router,
    stac.router,
    health.router,
    metrics.router,
)


def create_app(settings: Settings) -> FastAPI:
    """The application. What it works with is opened when it starts, and closed when it stops."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with opened(settings) as parts:
            app.state.parts = parts
            yield

    app = FastAPI(
        title="landsigma",
        summary="Land-cover maps with honest per-pixel uncertainty from Sentinel-1 and Sentinel-2",
        description=DESCRIPTION,
        version=version("landsigma"),
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        openapi_tags=TAGS,
        openapi_url=None,
        redoc_url=None,
        docs_url=None,
        lifespan=lifespan,
        redirect_slashes=False,
    )
    for router in ROUTERS:
        app.include_router(router)
    answer_problems(app)
    count_requests(app)
    describe(app)
    return app
