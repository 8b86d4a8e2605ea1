"""Jobs in a storm: workers, Redis and the API are killed, every message comes twice, and nothing may be lost."""

import hashlib
import json
import random
import time
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import psutil
import requests
from pydantic import SecretStr

from contract.database import Database
from contract.ledger import Job, Ledger
from contract.request import JobState, MapOptions, MapRequest
from contract.settings import Settings
from tests.bundles import write_identity_bundle
from tests.e2e.conftest import request_for
from tests.fleet import Broker, Fleet, Process, broker, free_port, kill_group
from workers.block import work_blocks
from workers.demo.scene import make_demo_scene
from workers.finish import finish_job
from workers.folder import JobFolder
from workers.plan import plan_job
from workers.reading import SceneReader
from workers.storage import open_storage
from workers.worker import Worker

BLOCK_SIZES = (64, 72, 80, 96)
"""Jobs differ in these, so that blocks of one cannot stand in for those of another."""
WORKERS = 3
OUTAGE_S = 2.0
_TWICE = """
from celery import Celery
once = Celery.send_task
def twice(self, *arguments, **options):
    once(self, *arguments, **options)
    return once(self, *arguments, **options)
Celery.send_task = twice
from workers.folder import JobFolder
JobFolder.clean = lambda self: None
"""
"""Goes before what a worker runs: each message is sent twice, and block rasters are kept to be looked at."""


@dataclass(frozen=True, kw_only=True)
class Order:
    """What is posted."""

    key: str
    """The same for the same order, however often it is posted."""
    body: dict[str, object]


@dataclass(frozen=True, kw_only=True)
class Scenery:
    """What the jobs are made of."""

    folder: Path
    seed: int

    @cached_property
    def source(self) -> Path:
        return make_demo_scene(self.folder / "scene", seed=self.seed, shape=(256, 320)).catalogue

    @cached_property
    def shelf(self) -> Path:
        write_identity_bundle(self.folder / "shelf" / "identity", chip_px=64)
        return self.folder / "shelf"

    def request(self, block_px: int) -> MapRequest:
        area, options = str(self.source.parent / "aoi.geojson"), MapOptions(block_px=block_px)
        return request_for(area, "demo", "identity", start="2021-04-01", end="2021-10-01", options=options)

    def order(self, number: int, block_px: int) -> Order:
        """The same request over HTTP."""
        request = self.request(block_px)
        area = json.loads((self.source.parent / "aoi.geojson").read_text())["geometry"]
        inputs = {
            "area": area,
            "start": request.start.isoformat(),
            "end": request.end.isoformat(),
            "source": request.source,
            "bundle": request.bundle,
            "options": {"block_px": block_px},
        }
        return Order(key=f"storm-{self.seed}-{number}", body={"inputs": inputs})

    def undisturbed(self, block_px: int) -> JobFolder:
        """The folder of a job that one process did from plan to finish, its block rasters kept."""
        folder = JobFolder(self.folder / f"undisturbed-{block_px}")
        folder.prepare()
        with Ledger.open(folder.ledger_url) as ledger:
            worker = Worker(
                name="one",
                ledger=ledger,
                folder_of=lambda _: folder,
                shelves=(self.shelf,),
                reader=SceneReader(),
                sources={"demo": str(self.source)},
            )
            job_id = ledger.submit(self.request(block_px))
            ledger.start(job_id)
            plan_job(worker, job_id)
            work_blocks(worker, job_id, ledger.open_blocks(job_id))
            finish_job(worker, job_id)
        return folder


@dataclass(kw_only=True)
class Storm:
    """Faults at random times, the same ones for the same seed; when they hit is up to the machine."""

    settings: Settings
    broker: Broker
    fleet: Fleet
    kill_every_s: float
    chance: random.Random
    faults: Counter[str] = field(default_factory=Counter)

    def weather(self, orders: list[Order], *, patience_s: float) -> list[str]:
        """Ids of the submitted jobs, once all of them have ended."""
        job_ids = self._submit(orders)
        workers = [self.fleet.worker() for _ in range(WORKERS)]
        self.fleet.beat()
        begun = last_kill = time.monotonic()
        redis_is_due, seen = True, 0
        with Database.open(self.settings.database_url.get_secret_value()) as database:
            ledger = Ledger(database)
            while True:
                statuses = [ledger.status(job_id) for job_id in job_ids]
                if all(status.state.is_final for status in statuses):
                    return job_ids
                # As whatever supervises workers does: one whose process was killed while it started gives up.
                workers = [worker if worker.poll() is None else self.fleet.worker() for worker in workers]
                now, done = time.monotonic(), sum(status.blocks_done + status.state.is_final for status in statuses)
                if now - begun > patience_s:
                    raise TimeoutError(f"not every job ended: {statuses}")
                # Only where work went on since the last time: on a slow machine, nobody would live to do any.
                if now - last_kill > self.kill_every_s and done > seen:
                    last_kill, seen = now + self.kill_every_s * self.chance.uniform(-0.5, 0.5), done
                    self._kill_one(workers)
                if redis_is_due and done > 3 * len(job_ids):
                    redis_is_due = False
                    self._forget()
                time.sleep(0.1)

    def _submit(self, orders: list[Order]) -> list[str]:
        """Submit all of them; the API is killed half-way, and whoever submits does it all once more."""
        before: list[str] = []

        def post(order: Order) -> None:
            with suppress(requests.ConnectionError):
                before.append(self._post(order))

        server = self.fleet.api()
        with ThreadPoolExecutor(4) as pool:
            posting = [pool.submit(post, order) for order in orders]
            while len(before) < len(orders) // 2:
                time.sleep(0.005)
            kill_group(server)
        for posted in posting:
            posted.result()
        self.faults["API killed"] += 1
        self.faults["submissions answered before"] += len(before)
        self.fleet.api()
        job_ids = [self._post(order) for order in orders]
        assert set(before) <= set(job_ids)
        return job_ids

    def _post(self, order: Order) -> str:
        address = f"{self.fleet.address}/processes/land-cover/execution"
        headers = {"Idempotency-Key": order.key, "Prefer": "respond-async"}
        answer = requests.post(address, json=order.body, headers=headers, timeout=30)
        assert answer.ok, answer.text
        job_id: str = answer.json()["jobID"]
        return job_id

    def _kill_one(self, workers: list[Process]) -> None:
        """Kill a worker, or the process that it forked, or both; start another where one is gone."""
        position, kind = self.chance.randrange(len(workers)), self.chance.choice(("worker", "fork", "both"))
        victim = workers[position]
        if kind == "both":
            kill_group(victim)
        elif kind == "worker":
            victim.kill()
            victim.wait()
        else:
            forks = psutil.Process(victim.pid).children()
            if not forks:
                return
            forks[0].kill()
        self.faults[f"kills of {kind}"] += 1
        if kind != "fork":
            workers[position] = self.fleet.worker()

    def _forget(self) -> None:
        self.broker.kill()
        time.sleep(OUTAGE_S)
        self.broker.start()
        self.faults["Redis emptied"] += 1


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What is there after a storm, beside what would be there without one."""

    ledger: Ledger
    folder_of: Callable[[str], JobFolder]
    undisturbed: Mapping[int, JobFolder]
    """By block size."""
    job_ids: list[str]
    log: list[dict[str, object]]
    """Every event that a worker told of."""

    def check(self) -> dict[str, int]:
        """Counts of everything; fails where something was lost, is stuck, is there twice or differs."""
        counts: Counter[str] = Counter(jobs=len(self.job_ids))
        assert len(set(self.job_ids)) == len(self.job_ids) == sum(self.ledger.totals().jobs.values())
        for job_id in self.job_ids:
            counts.update(self._check_job(self.ledger.job(job_id)))
        told = Counter((entry["job"], entry["block"]) for entry in self.log if entry["event"] == "block done")
        assert max(told.values()) == 1
        assert len(told) <= counts["blocks"]
        counts["blocks told done"] = len(told)
        counts["messages dropped"] = sum(entry["event"] == "message dropped" for entry in self.log)
        return dict(counts)

    def _check_job(self, job: Job) -> Counter[str]:
        """Every block counted once, and rasters of blocks and products as they would be without a storm."""
        assert job.status.state is JobState.SUCCESSFUL, job.status
        folder, calm = self.folder_of(job.id), self.undisturbed[job.request.options.block_px]
        reports = self.ledger.block_reports(job.id)
        assert len(reports) == job.status.blocks_done == job.status.blocks_total
        for index, report in enumerate(reports):
            expected = rasters(calm.block(index, 1))
            assert len(expected) > 0
            assert rasters(folder.block(index, report.attempt)) == expected
        assert rasters(folder.root) == rasters(calm.root)
        whole = [path for path in folder.blocks.iterdir() if len(rasters(path)) == len(rasters(folder.root))]
        return Counter(
            {
                "blocks": len(reports),
                "blocks of a second worker": sum(report.attempt > 1 for report in reports),
                "blocks begun in vain": len(list(folder.blocks.iterdir())) - len(reports),
                "blocks written in vain": len(whole) - len(reports),
                "leases lost": job.status.lost_leases,
                "retries": job.status.retries,
            }
        )


def rasters(folder: Path) -> dict[str, str]:
    """Checksums by name."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("*.tif")}


def ride_out(folder: Path, *, seed: int, jobs: int, kill_every_s: float, patience_s: float) -> dict[str, int]:
    """Counts of jobs, blocks and faults of one storm; fails where one of them did harm."""
    scenery = Scenery(folder=folder, seed=seed)
    (folder / "logs").mkdir()
    (folder / "data").mkdir()
    with broker() as private:
        settings = Settings(
            data_dir=folder / "data",
            port=free_port(),
            broker_url=SecretStr(private.url),
            bundle_dirs=(scenery.shelf,),
            sources={"demo": str(scenery.source)},
            lease_s=3,
            renew_s=1,
            resend_s=2,
            sweep_s=0.5,
            model_threads=1,
            log_format="json",
            log_level="debug",
        )
        used = BLOCK_SIZES[: min(jobs, len(BLOCK_SIZES))]
        undisturbed = {block_px: scenery.undisturbed(block_px) for block_px in used}
        orders = [scenery.order(number, used[number % len(used)]) for number in range(jobs)]
        with Fleet(settings=settings, logs=folder / "logs", preamble=_TWICE) as fleet:
            storm = Storm(
                settings=settings,
                broker=private,
                fleet=fleet,
                kill_every_s=kill_every_s,
                chance=random.Random(seed),
            )
            begun = time.monotonic()
            job_ids = storm.weather(orders, patience_s=patience_s)
            took_s = round(time.monotonic() - begun)
        with Ledger.open(settings.database_url.get_secret_value()) as ledger:
            outcome = Outcome(
                ledger=ledger,
                folder_of=open_storage(settings.storage_url, scratch=folder),
                undisturbed=undisturbed,
                job_ids=job_ids,
                log=[json.loads(line) for line in fleet.said().splitlines() if line.startswith("{")],
            )
            return {**outcome.check(), **storm.faults, "seconds": took_s}
