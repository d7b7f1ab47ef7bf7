"""An AIBrix GPU profile: the largest request rate of one deployment per request size. JSON.

``indexes`` is ``[[output ticks], [input ticks]]`` and the rows of ``tputs`` (requests per second) follow the first,
so the matrix is transposed into the orientation of our ``RateProfile`` (rows are input). ``cost`` is in USD per
hour, ``created`` in seconds since 1970. The file names a deployment such as ``simulator-llama2-7b-a100``: its end is
read as the GPU and the rest as the model, unless ``--gpu`` and ``--model`` say otherwise.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from profiles.errors import InvalidInput, UnknownName
from profiles.ingest.document import Node, read_document
from profiles.ingest.files import modified_on
from profiles.ingest.format import Format, Ingested, Options
from profiles.ingest.problems import build
from profiles.ingest.rates import oriented, transposed
from profiles.names import KnownNames
from profiles.types import Batch, RateProfile


def read(path: Path, known: KnownNames, options: Options) -> Ingested:
    """The rate profile in ``path``; raises ``InvalidInput`` for other files and where no GPU can be made out."""
    document = read_document(path, FORMAT.name)
    name = (document / "gpu").required("an AIBrix GPU profile names its deployment in gpu").text()
    (document / "tputs").required("an AIBrix GPU profile has tputs and indexes")
    axes = [axis.vector() for axis in document / "indexes"]
    if len(axes) != 2:
        raise InvalidInput("must be [[output ticks], [input ticks]]", field=(document / "indexes").where)
    outputs, inputs = axes
    model, gpu, notes = _who(name, known, options, document)
    profile = build(
        RateProfile,
        {
            "name": name,
            "model": model,
            "gpu": gpu,
            "input_tokens": inputs,
            "output_tokens": outputs,
            "requests_per_s": transposed(
                oriented(document / "tputs", len(outputs), len(inputs), "output", "input"),
            ),
            "usd_per_hour": (document / "cost").number(),
            "slo": _slo(document / "slos"),
            "source": options.source or f"AIBrix GPU profile {name}",
            "as_of": options.as_of or (document / "created").day() or modified_on(path),
        },
        {
            "requests_per_s": "tputs",
            "usd_per_hour": "cost",
            "input_tokens": "indexes[1]",
            "output_tokens": "indexes[0]",
        },
        path.name,
    )
    return Ingested(Batch(rate_profiles=(profile,)), notes)


def _who(name: str, known: KnownNames, options: Options, document: Node) -> tuple[str, str, tuple[str, ...]]:
    """Model and GPU of the deployment ``name``, and a note on what was read out of the name."""
    if options.gpu:
        model, gpu = name, known.gpu(options.gpu, "--gpu")
    else:
        model, gpu = _split(name, known, (document / "gpu").where)
    model = known.model(options.model or model)
    if options.gpu and options.model:
        return model, gpu, ()
    return model, gpu, (f"{name!r} read as model {model!r} on {gpu}; --model and --gpu say otherwise",)


def _split(name: str, known: KnownNames, where: str) -> tuple[str, str]:
    """``name`` before and after the dash that starts the longest ending that is a known GPU."""
    words = name.split("-")
    for start in range(1, len(words)):
        with suppress(UnknownName):
            return "-".join(words[:start]), known.gpu("-".join(words[start:]))
    gpus = sorted({gpu.name for gpu in known.gpus.values()})
    raise UnknownName("GPU", name, gpus, field=where, fix="add --gpu NAME, e.g. --gpu A100-80GB")


def _slo(slos: Node) -> str:
    """``{"percentile": 99, "e2e": 5.0}`` in words; AIBrix gives times in seconds."""
    percentile = (slos / "percentile").number()
    bounds = [f"{name} ≤ {value:g} s" for name in ("ttft", "tpot", "tpat", "e2e") if (value := (slos / name).number())]
    return f"p{percentile:g} {', '.join(bounds)}" if percentile and bounds else ", ".join(bounds)


FORMAT = Format(
    name="aibrix",
    description="an AIBrix GPU profile, request rates per size: JSON",
    suffixes=(".json",),
    read=read,
    options=("model", "gpu"),
)
