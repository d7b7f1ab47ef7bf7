"""How fast a real server answers while plans are made: 64 clients, mixed reads and small plans, SQLite, one worker.

    python benchmarks/service_load.py [--seconds 120] [--clients 64] [--plan-every 100] [--rate 400]

All clients together send ``--rate`` requests per second (0: each asks again as soon as it has its answer, which shows
how much the server can do, and nothing of how long answers take). One request in ``--plan-every`` is a small plan that
nobody has asked for before; all others read: plans, lists, jobs, profiles, planners. The clients run in this process
and share the machine with the server and its worker. Printed are figures of this run; nothing is asserted.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import numpy as np

from api.examples import SPECS
from planner.command import initialise_store

READS = (
    "/v1/plans/{plan}", "/v1/plans/{plan}", "/v1/plans/{plan}", "/v1/plans?limit=20", "/v1/jobs?limit=20",
    "/v1/profiles/gpus?limit=20", "/v1/prices?gpu=H100&limit=20", "/v1/planners/serving", "/healthz",
)  # fmt: skip
"""What is read, each as often as it stands here."""


@dataclass
class Seen:
    """What the clients saw: seconds per answer of reads and of plans, and how often each status came."""

    read_s: list[float] = field(default_factory=list)
    plan_s: list[float] = field(default_factory=list)
    statuses: Counter[str] = field(default_factory=Counter)
    plans: list[str] = field(default_factory=list)


async def asked(
    streams: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    method: str,
    path: str,
    body: bytes = b"",
    extra: str = "",
) -> tuple[int, bytes]:
    """Status and body of one request on a connection that stays open. Raw HTTP: clients must not cost more than it."""
    reader, writer = streams
    kind = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n" if body else ""
    writer.write(f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{kind}{extra}\r\n".encode() + body)
    head = await reader.readuntil(b"\r\n\r\n")
    length = next((int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0)
    return int(head[9:12]), await reader.readexactly(length)


def small_plan(number: int) -> bytes:
    """A plan that nobody has asked for: one layer of eight experts."""
    return json.dumps({"kind": "experts", "spec": {**SPECS["experts"], "name": f"load-{number}"}}).encode()


async def client(
    port: int, until_s: float, pause_s: float, plan_every: int, numbers: itertools.count[int], seen: Seen, seed: int
) -> None:
    """One client: asks, waits for the answer, and asks again when it is time (``pause_s`` on average)."""
    chance = random.Random(seed)  # noqa: S311  # a mix of requests, no secret
    streams = await asyncio.open_connection("127.0.0.1", port)
    due_s = time.perf_counter() + pause_s * chance.random()
    while max(due_s, time.perf_counter()) < until_s:
        if pause_s:
            await asyncio.sleep(due_s - time.perf_counter())
            due_s = max(due_s, time.perf_counter() - pause_s) + chance.expovariate(1 / pause_s)
        making = chance.randrange(plan_every) == 0
        begun_s = time.perf_counter()
        if making:
            status, body = await asked(streams, "POST", "/v1/plans", small_plan(next(numbers)), "Prefer: wait=1\r\n")
            seen.plan_s.append(time.perf_counter() - begun_s)
            if status == 201:
                seen.plans.append(json.loads(body)["id"])
        else:
            path = chance.choice(READS).format(plan=chance.choice(seen.plans))
            status, _ = await asked(streams, "GET", path)
            seen.read_s.append(time.perf_counter() - begun_s)
        seen.statuses[f"{'plan' if making else 'read'} {status}"] += 1
    streams[1].close()


async def load(port: int, num_clients: int, seconds: float, plan_every: int, rate: float) -> tuple[Seen, float]:
    """Everything that the clients saw, and for how long they asked."""
    seen, numbers = Seen(), itertools.count()
    streams = await asyncio.open_connection("127.0.0.1", port)
    for number in range(-5, 0):
        _, body = await asked(streams, "POST", "/v1/plans", small_plan(number), "Prefer: wait=60\r\n")
        seen.plans.append(json.loads(body)["id"])
    begun_s = time.perf_counter()
    until_s = begun_s + seconds
    pause_s = num_clients / rate if rate else 0.0
    await asyncio.gather(*(client(port, until_s, pause_s, plan_every, numbers, seen, i) for i in range(num_clients)))
    return seen, time.perf_counter() - begun_s


def serve(database: str) -> tuple[subprocess.Popen[bytes], int, float]:
    """A real server with one worker: its process, its port, and the seconds until it answered."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    begun_s = time.perf_counter()
    command = [sys.executable, "-c", "from planner.cli import main; main()", "serve", "--port", str(port),
               "--workers", "1", "--database", database]  # fmt: skip
    unlimited = {"GPUPLAN_REQUESTS_PER_MINUTE": "100000000", "GPUPLAN_PLANS_PER_MINUTE": "100000000"}
    nowhere = subprocess.DEVNULL
    process = subprocess.Popen(command, stdout=nowhere, stderr=nowhere, env={**os.environ, **unlimited})  # noqa: S603
    while True:
        try:
            with urlopen(f"http://127.0.0.1:{port}/healthz", timeout=30) as answer:
                answer.read()
            return process, port, time.perf_counter() - begun_s
        except URLError:
            if process.poll() is not None:
                raise SystemExit("the server did not start") from None
            time.sleep(0.02)


def cpu_s(pid: int) -> float:
    """CPU time that a process has taken (Linux)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rss_mib(pid: int) -> float:
    """Memory of a process (Linux)."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def report(seen: Seen, seconds: float) -> None:
    """Print what was seen."""
    for what, times in (("reads", seen.read_s), ("plans", seen.plan_s)):
        if times:
            p50, p99 = np.percentile(times, [50, 99]) * 1000
            print(f"{what}: {len(times)} in {seconds:.0f} s = {len(times) / seconds:.0f}/s; "
                  f"p50 {p50:.1f} ms, p99 {p99:.1f} ms, slowest {max(times) * 1000:.0f} ms")  # fmt: skip
    print(f"answers: {dict(sorted(seen.statuses.items()))}")
    print(f"load of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


def main() -> None:
    """Start a server, load it, print, stop it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--plan-every", type=int, default=100, help="one request in so many is a plan")
    parser.add_argument(
        "--rate", type=float, default=400, help="requests/s of all clients together; 0: as fast as can be"
    )
    asked_for = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gpuplan-load-") as directory:
        database = f"sqlite:///{directory}/store.db"
        initialise_store(database)[0].dispose()
        process, port, start_s = serve(database)
        try:
            print(f"first /healthz after {start_s:.2f} s; idle server {rss_mib(process.pid):.0f} MiB")
            before_s = cpu_s(process.pid)
            seen, seconds = asyncio.run(
                load(port, asked_for.clients, asked_for.seconds, asked_for.plan_every, asked_for.rate)
            )
            report(seen, seconds)
            taken_s = cpu_s(process.pid) - before_s
            per_read_ms = 1000 * taken_s / max(len(seen.read_s), 1)
            print(f"server: {taken_s / seconds:.0%} of a core, {per_read_ms:.2f} ms of CPU per "
                  f"read with its share of plans, {rss_mib(process.pid):.0f} MiB after it")  # fmt: skip
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)


if __name__ == "__main__":
    main()
