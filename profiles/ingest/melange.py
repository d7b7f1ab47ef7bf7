"""A Mélange configuration: per GPU type its price and the largest request rate of each size bucket. JSON.

``gpu_info.NAME.tputs[i][j]`` is in requests per second of one GPU for input bucket i and output bucket j: rows are
input, columns output, as in our ``RateProfile``. ``cost`` is in USD per hour. The file names neither the model nor
the buckets: ``--model``, ``--input-tokens`` and ``--output-tokens`` (upper bounds) do. ``workload_distribution``
and ``total_request_rate`` describe demand and belong to a serving spec, not to profiles.
"""

from __future__ import annotations

from pathlib import Path

from profiles.errors import InvalidInput
from profiles.ingest.document import Node, read_document
from profiles.ingest.files import modified_on
from profiles.ingest.format import Format, Ingested, Options
from profiles.ingest.problems import build
from profiles.ingest.rates import oriented, ticks
from profiles.names import KnownNames
from profiles.types import Batch, RateProfile


def read(path: Path, known: KnownNames, options: Options) -> Ingested:
    """One rate profile per GPU in ``path``; raises ``InvalidInput`` for other files or where an option is missing."""
    config = read_document(path, FORMAT.name)
    gpus = (config / "gpu_info").required("a Mélange configuration has gpu_info, with cost and tputs per GPU").value
    if not isinstance(gpus, dict) or not gpus:
        raise InvalidInput("must hold at least one GPU", field=(config / "gpu_info").where)
    model = known.model(options.required("model", "melange files do not name the model"))
    inputs = ticks(options, "input_tokens", "melange files do not name their input buckets")
    outputs = ticks(options, "output_tokens", "melange files do not name their output buckets")

    def profile(name: str, node: Node) -> RateProfile:
        gpu = known.gpu(name, node.where)
        return build(
            RateProfile,
            {
                "name": f"melange-{model}-{gpu}",
                "model": model,
                "gpu": gpu,
                "input_tokens": inputs,
                "output_tokens": outputs,
                "requests_per_s": oriented(node / "tputs", len(inputs), len(outputs), "input", "output"),
                "usd_per_hour": (node / "cost").number(),
                "source": options.source or f"Mélange configuration {path.name}",
                "as_of": options.as_of or modified_on(path),
            },
            {"requests_per_s": "tputs", "usd_per_hour": "cost"},
            node.where,
        )

    profiles = tuple(profile(name, config / "gpu_info" / name) for name in gpus)
    unused = [key for key in ("workload_distribution", "total_request_rate") if key in config]
    notes = (f"{' and '.join(unused)} left out: demand belongs to a serving spec",) if unused else ()
    return Ingested(Batch(rate_profiles=profiles), notes)


FORMAT = Format(
    name="melange",
    description="a Mélange configuration, price and request rates per GPU type: JSON",
    suffixes=(".json",),
    read=read,
    options=("model", "input_tokens", "output_tokens"),
)
