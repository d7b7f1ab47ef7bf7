"""The exception tree, with the exit code of the command line and the HTTP status of the service.

::

    GpuplanError                 1   500   a defect, unless a subclass says otherwise
    ├── InvalidInput             2   422   spec, file, option or number that cannot be meant
    │   └── UnknownName          2   422   model, GPU, region ... not known; suggests the closest
    ├── StoreError               2   503   database missing, locked, corrupt or of another version
    ├── Conflict                 2   409   not possible in the state it is in, such as cancelling what has ended
    ├── Overloaded               1   429   more work waits than is allowed: try again later
    ├── MissingProfile           5   409   nothing measured for what was asked; names the rows to measure
    ├── ProvisioningFailed       6   502   a cluster refused a plan
    └── FailedCheck              1   500   a plan that its own check rejects: never shown as good

Infeasible (exit code 3) and no solution within the limit (4) are outcomes, not errors: the plan says why.
"""

from __future__ import annotations

from profiles.errors import GpuplanError, InvalidInput, StoreError, UnknownName

__all__ = [
    "Conflict",
    "FailedCheck",
    "GpuplanError",
    "InvalidInput",
    "MissingProfile",
    "Overloaded",
    "ProvisioningFailed",
    "StoreError",
    "UnknownName",
]


class Conflict(GpuplanError):
    """What was asked is not possible in the state that the thing is in, such as cancelling a job that has ended."""

    exit_code = 2
    http_status = 409
    title = "conflict"


class Overloaded(GpuplanError):
    """More work waits already than is allowed to; trying again later can succeed."""

    http_status = 429
    title = "too much work waits"


class MissingProfile(GpuplanError):
    """No measurement answers the question and the spec does not allow an estimate; names the rows to measure."""

    exit_code = 5
    http_status = 409
    title = "missing profile"


class ProvisioningFailed(GpuplanError):
    """A cluster or cloud refused what a plan asked for."""

    exit_code = 6
    http_status = 502
    title = "provisioning failed"


class FailedCheck(GpuplanError):
    """The independent check rejected the plan: a defect in gpuplan, reported as such."""

    title = "plan failed its check"
