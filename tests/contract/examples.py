"""A request with its plan, reports and result, and jobs in the states that tests start from."""

import multiprocessing
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from multiprocessing.pool import Pool
from multiprocessing.synchronize import Barrier

from sqlalchemy import Engine, NullPool, create_engine, event

from contract.bands import Modality, Unit
from contract.grid import Grid, Window
from contract.ledger import Ledger
from contract.request import BlockReport, BundleReference, JobState, MapRequest, MapResult, Plan
from contract.scene import Area, Radiometry, Scene, SceneAsset, SkippedScene
from contract.steps import Claim

AREA = Area(coordinates=((((9.0, 47.0), (9.1, 47.0), (9.1, 47.2), (9.0, 47.0)),),))
REQUEST = MapRequest(
    area=AREA,
    start=datetime(2024, 5, 1, tzinfo=UTC),
    end=datetime(2024, 9, 1, tzinfo=UTC),
    source="planetary-computer",
    bundle="rules",
)
GRID = Grid(crs="EPSG:32632", left_m=500_000, top_m=5_200_000, resolution_m=10, height=300, width=500)
WINDOWS = tuple(Window(row=128 * row, col=64 * col, height=128, width=64) for row in range(2) for col in range(3))
REPORT = BlockReport(
    window=WINDOWS[0],
    attempt=1,
    aoi_px=10,
    mapped_px=9,
    affected_px=2,
    lost_px=1,
    unobserved_px={Modality.S2: 1},
    class_px={10: 4, 80: 5},
    read_s=1.5,
    inference_s=0.5,
    write_s=0.25,
    provider="CPUExecutionProvider",
)
SPAWNED = multiprocessing.get_context("spawn")


def scene(number: int) -> Scene:
    return Scene(
        id=f"S1A_{number:04d}",
        modality=Modality.S1,
        collection="sentinel-1-rtc",
        acquired=datetime(2024, 5, 1, tzinfo=UTC) + timedelta(hours=number),
        platform="sentinel-1a",
        footprint=AREA,
        assets=(
            SceneAsset(
                band="VV",
                href=f"https://example.org/{number}/vv.tif",
                radiometry=Radiometry(unit=Unit.LINEAR_POWER, nodata=float("nan"), reason="raster:bands"),
            ),
        ),
    )


BUNDLE = BundleReference(name="rules", version="1", kind="rules", sha256="0" * 64)
PLAN = Plan(
    bundle=BUNDLE,
    grid=GRID,
    scenes=tuple(scene(number) for number in range(3)),
    skipped=(SkippedScene(id="S1A_x", reason="no VV"),),
    notices=("no Sentinel-2 scene was found",),
)


def result(job_id: str, state: JobState = JobState.SUCCESSFUL) -> MapResult:
    return MapResult(
        job_id=job_id,
        state=state,
        request=REQUEST,
        bundle=BUNDLE,
        grid=GRID,
        aoi_px=60,
        mapped_px=54,
        affected_px=12,
        lost_px=6,
        unobserved_px={Modality.S2: 6},
        classes=(),
        scenes=PLAN.scenes,
        used_scenes=("S1A_0001",),
        skipped_scenes=PLAN.skipped,
        lost_reads=(),
        notices=PLAN.notices,
        warnings=(),
        blocks=len(WINDOWS),
        started=datetime(2026, 3, 1, tzinfo=UTC),
        finished=datetime(2026, 3, 2, tzinfo=UTC),
        timings_s={"read": 9.0},
        provider="CPUExecutionProvider",
        software={"landsigma": "0.1.0"},
        artifacts=(),
    )


def planned(ledger: Ledger, windows: tuple[Window, ...] = WINDOWS) -> str:
    """A running job with open blocks."""
    job_id = ledger.submit(REQUEST)
    ledger.start(job_id)
    ledger.record_plan(job_id, PLAN, windows)
    return job_id


def claimed(ledger: Ledger, job_id: str, index: int, owner: str = "one", lease_s: float = 60) -> Claim:
    claim = ledger.claim(job_id, index, owner=owner, lease_s=lease_s)
    assert claim is not None
    return claim


def complete_all(ledger: Ledger, job_id: str) -> None:
    for index in ledger.open_blocks(job_id):
        ledger.complete(claimed(ledger, job_id, index), REPORT)


def direct(url: str) -> Engine:
    """The database without the ledger."""
    return create_engine(url, poolclass=NullPool)


def together(processes: int) -> Pool:
    """Processes that have imported everything, and start their tasks at the same moment."""
    return SPAWNED.Pool(processes, meet, (SPAWNED.Barrier(processes),))


def meet(barrier: Barrier) -> None:
    barrier.wait()


def lookups(engine: Engine, ask: Callable[[], object]) -> list[list[str]]:
    """How SQLite goes about each query that `ask` sends, by its own account, in steps."""
    sent: list[tuple[str, tuple[object, ...]]] = []
    event.listen(engine, "before_cursor_execute", lambda *seen: sent.append((seen[2], seen[3])))
    ask()
    with engine.connect() as connection:
        return [
            [row.detail for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {query}", values)]
            for query, values in tuple(sent)
        ]
