"""Slow, obviously right replay: every iteration of every replica, one after another in order of time, in plain lists.

Shares the records of costs and options with the code under test, and no code.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from planner.simulate.cluster import Failure, Link, Options, Pool, SizeRoutes


@dataclass(eq=False)
class Request:
    index: int
    arrival: float
    input: int
    output: int
    prompt: int = 0  # to compute (again) before it decodes
    done: int = 0
    emitted: int = 0
    held: int = 0  # KV tokens
    reserved: int = 0
    first: float = math.nan
    overhead: float = 0.0
    end: float = math.nan
    status: str = "unfinished"
    retries: int = 0
    preemptions: int = 0
    replicas: list[int] = field(default_factory=list)


class Replica:
    def __init__(self, number: int, pool: Pool, options: Options) -> None:
        self.number, self.pool, self.cost = number, pool, pool.iteration
        self.budget = options.token_budget
        self.most = min(options.max_running or self.cost.most_running, self.cost.most_running)
        self.waiting: list[Request] = []
        self.admitted: list[Request] = []
        self.load = 0
        self.turn = 0
        self.epoch = 0
        self.ready = options.start_up_s
        self.end = math.inf  # of the iteration under way
        self.chunks: list[tuple[Request, int]] = []
        self.decoding: list[Request] = []
        self.link_free = 0.0
        self.busy_s = 0.0
        self.energy_j = 0.0

    def target(self, request: Request) -> int:
        return 1 if self.pool.role == "prefill" else request.output

    def boundary(self, now: float) -> int:
        """Preempt, admit and begin the next iteration; how many were preempted."""
        cost, preempted = self.cost, 0
        while True:
            decoding = [r for r in self.admitted if r.done == r.prompt]
            if not decoding or sum(r.held for r in self.admitted) + len(decoding) <= cost.kv_tokens:
                break
            victim = self.admitted.pop()
            victim.prompt = victim.input + victim.emitted if victim.done == victim.prompt else victim.prompt
            victim.done = victim.held = 0
            victim.preemptions += 1
            preempted += 1
            self.waiting.insert(0, victim)
        while self.waiting and len(self.admitted) < self.most:
            request = self.waiting[0]
            decoding = [r for r in self.admitted if r.done == r.prompt]
            left = self.target(request) - request.emitted
            need = request.prompt + max(1, math.ceil(cost.reserved_output * left))
            used = sum(r.held for r in self.admitted) + len(decoding)
            if max(sum(r.reserved for r in self.admitted), used) + need > cost.kv_tokens:
                break
            request.reserved, request.held = need, request.prompt
            self.admitted.append(self.waiting.pop(0))
        self.decoding = [r for r in self.admitted if r.done == r.prompt]
        self.chunks = []
        left = self.budget - len(self.decoding)
        for request in self.admitted:
            if request.done < request.prompt and left > 0:
                chunk = min(left, request.prompt - request.done)
                self.chunks.append((request, chunk))
                left -= chunk
        if not self.admitted:
            self.end = math.inf
            return preempted
        context = sum(r.held for r in self.decoding)
        decode_ms = cost.decode_ms[len(self.decoding)] + cost.kv_ms_per_token * context
        prompt_ms = sum(
            m * cost.prompt_ms_per_token + m * (2 * r.done + m) * cost.prompt_ms_per_token2 for r, m in self.chunks
        )
        self.end = now + (decode_ms + prompt_ms) / 1e3
        self.busy_s += (decode_ms + prompt_ms) / 1e3
        decode_w = cost.decode_w[len(self.decoding)] if self.decoding else cost.prompt_w
        self.energy_j += (decode_ms * decode_w + prompt_ms * cost.prompt_w) / 1e3
        return preempted

    def finish_iteration(self) -> list[Request]:
        """Requests that have said all they say here, in the order of their admission."""
        for request in self.decoding:
            request.emitted += 1
            request.held += 1
        for request, chunk in self.chunks:
            request.done += chunk
            if request.done == request.prompt:
                request.emitted += 1
                if request.emitted == 1:
                    request.overhead = self.cost.prompt_overhead_ms / 1e3
                    request.first = self.end + request.overhead
        gone = [r for r in self.admitted if r.done == r.prompt and r.emitted == self.target(r)]
        self.admitted = [r for r in self.admitted if r not in gone]
        return gone


class Reference:
    def __init__(
        self, pools: tuple[Pool, ...], routes: tuple[SizeRoutes, ...], options: Options, link: Link | None = None,
        max_context_tokens: float = math.inf,
    ) -> None:  # fmt: skip
        self.replicas = [Replica(0, pool, options) for pool in pools for _ in range(pool.replicas)]
        for number, replica in enumerate(self.replicas):
            replica.number = number
        self.routes, self.options, self.link, self.longest = routes, options, link, max_context_tokens
        self.turns = 0
        self.preempted = 0
        self.deliveries: list[tuple[float, Request, Replica, int]] = []

    def run(self, arrivals: list[tuple[float, int, int]]) -> list[Request]:
        requests = [Request(i, *row) for i, row in enumerate(arrivals)]
        failures = sorted(
            ((f.at_s, self.of_unit(f.unit)[f.replica], f) for f in self.options.failures), key=lambda x: x[0]
        )
        coming = list(requests)
        while True:
            busy = min(self.replicas, key=lambda r: r.end)
            delivery = min(self.deliveries, key=lambda d: d[0], default=None)
            times = [
                coming[0].arrival if coming else math.inf,
                delivery[0] if delivery else math.inf,
                failures[0][0] if failures else math.inf,
                busy.end,
            ]
            now = min(times)
            if now == math.inf or (not coming and all(r.status != "unfinished" for r in requests)):
                return requests
            what = times.index(now)
            if what == 0:
                self.dispatch(coming.pop(0), now)
            elif what == 1:
                assert delivery is not None
                self.deliveries.remove(delivery)
                _, request, replica, epoch = delivery
                if replica.epoch == epoch:
                    self.enqueue(request, replica, now)
                else:
                    self.retry(request, now)
            elif what == 2:
                _, replica, failure = failures.pop(0)
                self.fail(replica, failure, now)
            else:
                self.end_iteration(busy, now)

    def of_unit(self, unit: str) -> list[Replica]:
        return [r for r in self.replicas if r.pool.unit == unit]

    def end_iteration(self, replica: Replica, now: float) -> None:
        for request in replica.finish_iteration():
            replica.load -= request.input if replica.pool.role == "prefill" else 1
            if request.emitted == request.output:
                request.status, request.end = "completed", now + request.overhead
            else:
                self.hand_over(request, replica, now)
        self.preempted += replica.boundary(now)

    def choices(self, request: Request) -> list[tuple[str, str | None]]:
        for size in self.routes:
            (i0, i1), (o0, o1) = size.input_tokens, size.output_tokens
            if i0 < request.input <= i1 and o0 < request.output <= o1:
                return [(c.unit, c.decode_unit) for c in size.choices]
        raise AssertionError("the reference knows no nearest range")

    def choose(self, request: Request, now: float, sender: Replica | None) -> Replica | str:
        """By the shortest queue over all choices of the size."""
        candidates = []
        for unit, decode_unit in self.choices(request):
            last = self.of_unit(decode_unit or unit)
            if request.input + request.output > last[0].cost.kv_tokens:
                continue
            if request.input + 1 > self.of_unit(unit)[0].cost.kv_tokens:
                continue
            if sender is None:
                candidates += self.of_unit(unit)
            elif sender.pool.unit == unit:
                candidates += last
        if not candidates:
            return "too large"
        for group in ([r for r in candidates if r.ready <= now], [r for r in candidates if now < r.ready < math.inf]):
            if group:
                best = min(group, key=lambda r: (r.load, r.turn))
                self.turns += 1
                best.turn = self.turns
                best.load += request.input if best.pool.role == "prefill" else 1
                return best
        return "no replica"

    def dispatch(self, request: Request, now: float) -> None:
        if request.input + request.output > self.longest:
            request.status = "too long"
            return
        request.prompt, request.done, request.emitted = request.input, 0, 0
        replica = self.choose(request, now, None)
        if isinstance(replica, str):
            request.status = replica
        else:
            self.enqueue(request, replica, now)

    def enqueue(self, request: Request, replica: Replica, now: float) -> None:
        request.replicas.append(replica.number)
        replica.waiting.append(request)
        if replica.end == math.inf:  # idle
            if now < replica.ready:
                replica.end, replica.decoding, replica.chunks = replica.ready, [], []
            else:
                self.preempted += replica.boundary(now)

    def hand_over(self, request: Request, sender: Replica, now: float) -> None:
        replica = self.choose(request, now, sender)
        assert isinstance(replica, Replica)
        assert self.link is not None
        cost, layers = sender.cost, self.link.layers
        send = request.prompt * cost.kv_bytes_per_token / (self.link.gb_per_s * 1e9)
        compute = float(cost.prompt_ms(request.prompt)) / 1e3
        exposed = max(send / layers, send - compute * (layers - 1) / layers)
        begin = max(sender.link_free, now - (send - exposed))
        sender.link_free = begin + send
        request.held = 0
        at = sender.link_free + self.link.latency_ms / 1e3
        self.deliveries.append((at, request, replica, replica.epoch))

    def fail(self, replica: Replica, failure: Failure, now: float) -> None:
        lost = replica.admitted + replica.waiting
        replica.admitted, replica.waiting, replica.load = [], [], 0
        replica.end = math.inf
        replica.epoch += 1
        replica.ready = max(replica.ready, now + failure.for_s + self.options.start_up_s)
        for request in lost:
            self.retry(request, now)

    def retry(self, request: Request, now: float) -> None:
        request.retries += 1
        self.dispatch(request, now)
