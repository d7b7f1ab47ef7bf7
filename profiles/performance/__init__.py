"""What measurements predict: latency, throughput, power and capacity of a model on GPUs, with honest errors.

``performance_of(facts)`` answers for a ``Layout``. Behind it, one idea at every level: a time is a sum of
physical terms (``terms``) in units of what the datasheet allows (``datasheet``), times a smooth remainder. The
coefficients are log-normal around those of the family and of the engine (``priors``), and one Gaussian process learns
all of it from the rows (``learn``): its posterior is the prediction and, beside it, the interval (``trust``). What is
planned with is mended on a lattice so that longer requests and more of them never look faster (``lattice``).
"""

from profiles.performance.answers import Capacity, Memory, Percentile, Prediction, Slo
from profiles.performance.iteration import Iteration
from profiles.performance.kept import performance_of
from profiles.performance.model import PerformanceModel
from profiles.performance.phases import (
    Phase,
    Sizes,
    decoded_requests_per_s,
    most_concurrent,
    sustained_decode,
    sustained_prefill,
    time_per_output_token,
    time_to_first_token,
)

__all__ = [
    "Capacity",
    "Iteration",
    "Memory",
    "Percentile",
    "PerformanceModel",
    "Phase",
    "Prediction",
    "Sizes",
    "Slo",
    "decoded_requests_per_s",
    "most_concurrent",
    "performance_of",
    "sustained_decode",
    "sustained_prefill",
    "time_per_output_token",
    "time_to_first_token",
]
