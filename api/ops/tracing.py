"""Traces by OpenTelemetry: where OTEL_EXPORTER_OTLP_ENDPOINT says where they go, and nowhere otherwise.

Everything else of it is set by OpenTelemetry's own variables (OTEL_SERVICE_NAME, OTEL_TRACES_SAMPLER, ...).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from planner.errors import InvalidInput

if TYPE_CHECKING:
    from fastapi import FastAPI

VARIABLES = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
NOT_TRACED = "healthz,readyz,metrics"
"""Probes and scrapes, unless OTEL_PYTHON_FASTAPI_EXCLUDED_URLS says something else."""


def trace_if_asked(app: FastAPI) -> None:
    """Send a span for every request from now on, where the environment says where to.

    Raises ``InvalidInput`` where it does and the extra is not installed.
    """
    if not any(os.environ.get(variable) for variable in VARIABLES):
        return
    try:  # a third of a second to import, and only who asks for it has it
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ModuleNotFoundError as error:
        raise InvalidInput(
            f"traces need {error.name}, which is not installed", field=VARIABLES[0],
            fix="pip install 'gpuplan[otel]', or unset the variable",
        ) from None  # fmt: skip
    name = os.environ.get("OTEL_SERVICE_NAME", "gpuplan")
    provider = TracerProvider(resource=Resource.create({SERVICE_NAME: name}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    excluded = os.environ.get("OTEL_PYTHON_FASTAPI_EXCLUDED_URLS", NOT_TRACED)
    FastAPIInstrumentor.instrument_app(app, tracer_provider=provider, excluded_urls=excluded)
