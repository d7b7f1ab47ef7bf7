"""Discrete-event replay of a request trace on a serving plan, iteration by iteration of every engine.

``simulate`` replays a plan, ``simulate_pools`` pools that are given explicitly. ``Traffic`` comes from a trace file, a
generator (``arrivals``) or arrays. ``kernel`` has the rules of the engines and of the events between them.
"""

from planner.simulate.arrivals import generated
from planner.simulate.cluster import Choice, Failure, Link, Options, Pool, SizeRoutes
from planner.simulate.result import Simulation
from planner.simulate.simulate import simulate, simulate_pools
from planner.simulate.trace_file import sizes_of_trace, traffic_of_trace
from planner.simulate.traffic import Chunk, Sizes, Traffic, from_arrays

__all__ = [
    "Choice",
    "Chunk",
    "Failure",
    "Link",
    "Options",
    "Pool",
    "Simulation",
    "SizeRoutes",
    "Sizes",
    "Traffic",
    "from_arrays",
    "generated",
    "simulate",
    "simulate_pools",
    "sizes_of_trace",
    "traffic_of_trace",
]
