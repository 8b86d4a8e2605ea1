"""How many submissions a server takes in a second, and how fast it lists jobs when it has ten thousand.

One process sends them, another serves; both are on this machine, with SQLite on its disk, each submission on disk before
it is answered. Prints JSON.

    python benchmarks/submissions.py [--per-second 200] [--seconds 30] [--jobs 10000]
"""

import argparse
import asyncio
import json
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path

import httpx
import numpy as np

ROOT = Path(__file__).resolve().parent.parent
CONNECTIONS = 64
LISTINGS = 50
Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]
SCRIPT = """
import sys, uvicorn
from http import HTTPStatus
from pathlib import Path
from contract.settings import Settings
from service.app import create_app
settings = Settings(data_dir=Path(sys.argv[1]), max_jobs_at_once=None, max_jobs_per_hour=None)
uvicorn.run(create_app(settings), port=int(sys.argv[2]), log_level="warning", access_log=False, timeout_keep_alive=60)
"""


def main() -> None:
    """Measure, and print what was measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--per-second", type=int, default=200)
    parser.add_argument("--seconds", type=int, default=30)
    parser.add_argument("--jobs", type=int, default=10_000)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, served(Path(folder)) as address:
        sent = asyncio.run(submit(address, chosen.per_second, chosen.seconds))
        short = max(0, chosen.jobs - chosen.per_second * chosen.seconds)
        asyncio.run(submit(address, chosen.per_second, short / chosen.per_second))
        print(json.dumps({"submissions": sent, "listing": listing(address)}, indent=2))


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of an API in a process of its own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with subprocess.Popen([sys.executable, "-c", SCRIPT, str(folder), str(port)], cwd=ROOT) as server:
        address = f"http://127.0.0.1:{port}"
        try:
            _wait(address)
            yield address
        finally:
            server.terminate()


async def submit(address: str, per_second: int, seconds: float) -> dict[str, float]:
    """Figures of submissions that are sent at even distances, whatever becomes of those before."""
    count = round(per_second * seconds)
    if not count:
        return {}
    free: asyncio.Queue[Connection] = asyncio.Queue()
    for _ in range(CONNECTIONS):
        free.put_nowait(await connect(address))
    begun, tasks = time.perf_counter(), []
    for number in range(count):
        due = begun + number / per_second
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        tasks.append(asyncio.create_task(_one(free, number, due)))
    answers = await asyncio.gather(*tasks)
    took_s = time.perf_counter() - begun
    waits_ms = 1000 * np.array([wait_s for wait_s, _ in answers])
    statuses = [status for _, status in answers]
    return {
        "count": count,
        "accepted": statuses.count(201),
        "server_errors": sum(status >= HTTPStatus.INTERNAL_SERVER_ERROR for status in statuses),
        "per_second": round(count / took_s, 1),
        "median_ms": round(float(np.percentile(waits_ms, 50)), 1),
        "p99_ms": round(float(np.percentile(waits_ms, 99)), 1),
        "longest_ms": round(float(waits_ms.max()), 1),
    }


async def connect(address: str) -> Connection:
    """A connection that is kept open. HTTP by hand: a client library costs the sender more than the server takes."""
    host, _, port = address.removeprefix("http://").partition(":")
    return await asyncio.open_connection(host, int(port))


async def _one(free: asyncio.Queue[Connection], number: int, due: float) -> tuple[float, int]:
    """Seconds from when it was due to its answer, which counts what it waited for in this process, and the status."""
    reader, writer = connection = await free.get()
    writer.write(_message(number))
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(re.search(rb"content-length: (\d+)", head.lower())[1])
    await reader.readexactly(length)
    free.put_nowait(connection)
    return time.perf_counter() - due, int(head[9:12])


def _message(number: int) -> bytes:
    west = 11 + number % 100 / 1000
    inputs = {
        "area": {"bbox": [west, 46.6, west + 0.2, 46.7]},
        "start": "2024-06-01",
        "end": "2024-09-01",
        "source": "planetary-computer",
        "bundle": "spectral-rules",
    }
    body = json.dumps({"inputs": inputs}).encode()
    head = (
        "POST /processes/land-cover/execution HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def listing(address: str) -> dict[str, float]:
    """Figures of the first page of the list of jobs, and of a page deep inside."""
    with httpx.Client(base_url=address, timeout=30) as client:
        following = client.get("/jobs", params={"limit": 1000}).json()["jobs"][-1]["jobID"]
        paths = {
            "first_page": "/jobs",
            "deep_page": f"/jobs?after={following}",
            "successful": "/jobs?status=successful",
        }
        return {f"{name}_ms": _median_ms(client, path) for name, path in paths.items()} | _jobs(client)


def _median_ms(client: httpx.Client, path: str) -> float:
    times = []
    for _ in range(LISTINGS):
        begun = time.perf_counter()
        client.get(path).raise_for_status()
        times.append(time.perf_counter() - begun)
    return round(1000 * float(np.median(times)), 1)


def _jobs(client: httpx.Client) -> dict[str, float]:
    lines = client.get("/metrics").text.splitlines()
    return {"jobs": sum(float(line.split()[-1]) for line in lines if line.startswith("landsigma_jobs{"))}


def _wait(address: str) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            httpx.get(f"{address}/health").raise_for_status()
        except httpx.HTTPError:
            time.sleep(0.1)
        else:
            return
    raise TimeoutError("the API did not start")


if __name__ == "__main__":
    main()
