"""What served the requests, for reports that only say how the requests went."""

from __future__ import annotations

from profiles.errors import InvalidInput
from profiles.ingest.format import Options
from profiles.names import KnownNames


def deployment(
    options: Options, known: KnownNames, *, tool: str, model: str = "", engine: str = ""
) -> dict[str, object]:
    """Fields of a ``Measurement`` that say what ran: from ``options``, else the ``model`` and ``engine`` of the report.

    Raises ``InvalidInput`` naming the flag when the model or the GPU is not given, ``UnknownName`` for a GPU that
    is not known.
    """
    named = options.model or model or options.required("model", f"this {tool} file does not name the model")
    gpu = options.required("gpu", f"{tool} files do not name the GPU")
    if (options.tp * options.dp) % options.ep:
        raise InvalidInput(
            f"{options.ep} does not divide tp × dp = {options.tp * options.dp}",
            field="--ep",
            fix="expert parallelism divides the GPUs of tp × dp",
        )
    return {
        "model": known.model(named),
        "gpu": known.gpu(gpu, "--gpu"),
        "tp": options.tp,
        "pp": options.pp,
        "dp": options.dp,
        "ep": options.ep,
        "precision": options.precision,
        "engine": options.engine or engine or "unknown",
        "engine_version": options.engine_version,
    }
