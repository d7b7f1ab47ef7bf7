#!/usr/bin/env python3
"""Keeps a row of GPU servers within its power budget, by the policy that gpuplan made. Needs nothing but Python 3.9.

    row_controller.py --policy policy.json --prometheus http://localhost:9090
    row_controller.py ... --act --command ./apply.sh

At every telemetry interval it reads the row's power from Prometheus. It climbs to the highest step whose threshold is
exceeded (a step that waits only once the step before it is in force), leaves the top step below its release, and brakes
above the brake's threshold. Without a reading for longer than the timeout it takes the topmost step: fail safe. It
starts there, too. It only logs what it would do unless it is told to ``--act``: then ``COMMAND STATE CLASS`` is run for
every class whose caps change, and again at the next interval if it fails.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import os
import shlex
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

Policy = dict[str, Any]

LOG = logging.getLogger("row-controller")

COMMAND_TIMEOUT_S = 300.0
"""After it a command is stopped, and run again: out of band, a server's GPUs are told one after another."""


@dataclass(frozen=True)
class State:
    """``told``: the step that servers were last told; ``history``: when they were told which. Times are in seconds."""

    told: int
    braking: bool
    seen_s: float
    history: tuple[tuple[float, int], ...]


def start(policy: Policy, now_s: float) -> State:
    """The topmost step: what was set before is not known."""
    top = len(policy["steps"])
    return State(told=top, braking=False, seen_s=now_s, history=((now_s, top),))


def after(policy: Policy, state: State, power_w: float | None, now_s: float) -> State:
    """What is told once the row was seen to draw ``power_w``, or not seen at all."""
    if power_w is None:  # nothing new; for longer than the timeout, the topmost step
        silent_s = now_s - state.seen_s
        blind = silent_s > policy["telemetry"]["timeout_s"]
        return _telling(policy, state, len(policy["steps"]), now_s) if blind else state
    told, in_force = state.told, step_in_force(policy, state, now_s)
    climbed = [
        i + 1
        for i, step in enumerate(policy["steps"])
        if i >= told and power_w > step["above"]["watts"] and (not step["waits"] or in_force >= i)
    ]
    if climbed:
        told = climbed[-1]
    elif told and power_w < policy["steps"][told - 1]["release_below"]["watts"]:
        told -= 1
    braking = power_w > policy["brake"]["above"]["watts"] or (
        state.braking and not power_w < policy["brake"]["release_below"]["watts"]
    )
    return _telling(policy, replace(state, braking=braking, seen_s=now_s), told, now_s)


def step_in_force(policy: Policy, state: State, now_s: float) -> int:
    """The step told long enough ago to have been set."""
    in_force = [step for told_s, step in state.history if told_s + policy["cap_latency_s"] <= now_s]
    return in_force[-1] if in_force else 0


def _telling(policy: Policy, state: State, told: int, now_s: float) -> State:
    if told == state.told:
        return state
    old = [i for i, (told_s, _) in enumerate(state.history) if told_s + policy["cap_latency_s"] <= now_s]
    return replace(state, told=told, history=(*state.history[old[-1] if old else 0 :], (now_s, told)))


def name_of(state: State) -> str:
    """As the policy's caps are listed."""
    if state.braking:
        return "brake"
    return f"step-{state.told}" if state.told else "free"


def read_power_w(prometheus: str, query: str, timeout_s: float) -> float | None:
    """The row's power; None without a single, finite answer."""
    url = f"{prometheus.rstrip('/')}/api/v1/query?{urllib.parse.urlencode({'query': query})}"
    try:
        with urllib.request.urlopen(url, timeout=timeout_s) as answer:  # noqa: S310 - main() takes http(s) alone
            found = json.load(answer)["data"]["result"]
        watts = [float(sample["value"][1]) for sample in found]
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        LOG.warning("no reading: %s", error)
        return None
    if len(watts) != 1 or not math.isfinite(watts[0]):
        LOG.warning("no reading: %d values where one is expected", len(watts))
        return None
    return watts[0]


class Servers:
    """What classes were told, and the commands that tell them. Without ``command`` it is only logged."""

    def __init__(self, policy: Policy, command: Sequence[str] | None) -> None:
        self.caps = policy["caps"]
        self.command = command
        self.told: dict[str, str] = {}
        self.running: dict[str, tuple[str, float, subprocess.Popen[bytes]]] = {}

    def tell(self, state: str, now_s: float) -> None:
        """Bring every class to ``state``; does not wait for commands. A newer one stops one that still runs."""
        for name, caps in self.caps[state].items():
            self._collect(name, caps, now_s)
            known = self.told.get(name)
            if name in self.running or (known is not None and self.caps[known][name] == caps):
                continue
            what = " ".join(f"{kind}={value:g}" for kind, value in caps.items()) or "no cap"
            if self.command is None:
                LOG.info("would set %s to %s: %s", name, state, what)
                self.told[name] = state
                continue
            LOG.info("setting %s to %s: %s", name, state, what)
            self.told.pop(name, None)
            try:
                process = subprocess.Popen(  # noqa: S603
                    [*self.command, state, name], stdin=subprocess.DEVNULL, start_new_session=True
                )
            except OSError as error:
                LOG.error("%s: %s", shlex.join(self.command), error)
                continue
            self.running[name] = (state, now_s, process)

    def _collect(self, name: str, caps: dict[str, float], now_s: float) -> None:
        """See whether the command of a class has ended, and how; stop it where ``caps`` are no longer its own."""
        if name not in self.running:
            return
        state, since_s, process = self.running[name]
        code = process.poll()
        if code is None and now_s - since_s <= COMMAND_TIMEOUT_S and self.caps[state][name] == caps:
            return
        if code is None:
            os.killpg(process.pid, signal.SIGKILL)  # what it started too: a late command must not undo a newer one
            code = process.wait()
        del self.running[name]
        if code == 0:
            self.told[name] = state
        else:
            LOG.error("setting %s to %s ended with status %d", name, state, code)


def follow(
    policy: Policy,
    read: Callable[[], float | None],
    servers: Servers,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Read and tell, for ever."""
    state = start(policy, clock())
    servers.tell(name_of(state), clock())
    while True:
        began_s = clock()
        power_w = read()
        now_s = clock()
        before = name_of(state)
        seen = "no reading" if power_w is None else f"{power_w:,.0f} W, {power_w / policy['budget_w']:.1%}"
        state = after(policy, state, power_w, now_s)
        if name_of(state) != before:
            LOG.info("%s: from %s to %s", seen, before, name_of(state))
        servers.tell(name_of(state), now_s)
        sleep(max(0.0, policy["telemetry"]["interval_s"] - (clock() - began_s)))


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description="Keeps a row within its power budget by the policy of gpuplan.")
    parser.add_argument("--policy", type=Path, required=True, help="policy.json")
    parser.add_argument("--prometheus", required=True, help="http://host:9090")
    parser.add_argument("--act", action="store_true", help="run --command; without it nothing but a log is written")
    parser.add_argument("--command", default="./apply.sh", help="is run with a state and a class (default %(default)s)")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stdout)
    if not options.prometheus.startswith(("http://", "https://")):
        parser.error("--prometheus: give a URL that begins with http:// or https://")
    try:
        policy = json.loads(options.policy.read_text(encoding="utf-8"))
        telemetry = policy["telemetry"]
        LOG.info("row %s, %d steps, budget %s W%s", policy["row"], len(policy["steps"]), f"{policy['budget_w']:,.0f}",
                 "" if options.act else "; only logging")  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError) as error:
        parser.error(f"--policy: {options.policy} is no policy of gpuplan: {error}")
    servers = Servers(policy, shlex.split(options.command) if options.act else None)
    follow(policy, lambda: read_power_w(options.prometheus, telemetry["query"], telemetry["timeout_s"] / 2), servers)
    return 0


if __name__ == "__main__":
    sys.exit(main())
