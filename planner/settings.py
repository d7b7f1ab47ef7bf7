"""Settings from the environment: ``GPUPLAN_`` and the name of a field, in capitals. Options of commands go first."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from planner.errors import InvalidInput
from profiles.db import DEFAULT_URL

Engine = Literal["local", "ray"]


class Settings(BaseSettings):
    """Every setting, with its unit and default. Secrets (the database's password) are in ``database_url`` alone."""

    model_config = SettingsConfigDict(env_prefix="GPUPLAN_", frozen=True, extra="ignore", hide_input_in_errors=True)

    database_url: str = Field(default=DEFAULT_URL, description="profile store", repr=False)
    host: str = Field(default="127.0.0.1", description="address to listen on; beyond loopback needs an API key")
    port: Annotated[int, Field(ge=0, le=65_535)] = Field(default=8000, description="0 takes any free port")
    workers: Annotated[int, Field(ge=0, le=256)] = Field(
        default=1, description="worker processes beside the server; 0 where `gpuplan worker` runs elsewhere"
    )
    engine: Engine = Field(default="local", description="where sweeps and large simulations run")
    ray_address: str | None = Field(default=None, description="cluster to join; default: start a local one")
    log_level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="logged from")
    log_format: Literal["json", "text"] = Field(default="json", description="one JSON object per line, or text")
    most_body_mib: Annotated[float, Field(gt=0, le=1024)] = Field(default=16.0, description="of a request")
    most_time_limit_s: Annotated[float, Field(gt=0, le=86_400)] = Field(default=600.0, description="of one solve")
    requests_per_minute: Annotated[int, Field(ge=1)] = Field(
        default=60_000, description="per API key (or address on loopback); more get 429"
    )
    plans_per_minute: Annotated[int, Field(ge=1)] = Field(default=6_000, description="POSTs per API key, of these")
    most_queued: Annotated[int, Field(ge=1)] = Field(default=100_000, description="jobs that wait; more get 429")
    lease_s: Annotated[float, Field(gt=0, le=3600)] = Field(
        default=15.0, description="a worker without a sign of life for this long has lost its job"
    )
    most_attempts: Annotated[int, Field(ge=1, le=100)] = Field(
        default=5, description="a job whose worker died this often has failed"
    )
    deploy_targets: str = Field(
        default="local", description="that requests may apply plans to, as for `gpuplan apply`; separated by commas"
    )
    shutdown_s: Annotated[float, Field(ge=0, le=3600)] = Field(
        default=10.0, description="to finish running jobs in; then they are queued again"
    )


def settings() -> Settings:
    """The settings of now; ``InvalidInput`` names the variable that cannot be read."""
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors()[0]
        name = "GPUPLAN_" + "_".join(str(part) for part in first["loc"]).upper()
        raise InvalidInput(first["msg"], field=name, fix="correct or unset the variable") from None
