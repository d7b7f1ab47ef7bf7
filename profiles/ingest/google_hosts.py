"""Which GPUs belong to which Google machine type: the SkyPilot catalogue prices the two in separate rows."""

from __future__ import annotations

import re

_FAMILIES = {
    "a2-highgpu": "A100-40GB",
    "a2-megagpu": "A100-40GB",
    "a2-ultragpu": "A100-80GB",
    "a3-highgpu": "H100",
    "a3-edgegpu": "H100",
    "a3-megagpu": "H100",
    "a3-ultragpu": "H200",
    "a4-highgpu": "B200",
}
_G2_L4S = {4: 1, 8: 1, 12: 1, 16: 1, 24: 2, 32: 1, 48: 4, 96: 8}
"""L4s of ``g2-standard-N`` by its vCPUs."""


def host_machine(instance: str) -> tuple[str, int] | None:
    """GPU (catalogue name) and their number in the machine type ``instance``; None for one without fixed GPUs."""
    named = re.fullmatch(r"(a\d-[a-z]+gpu)-(\d+)g", instance)
    if named and named[1] in _FAMILIES:
        return _FAMILIES[named[1]], int(named[2])
    standard = re.fullmatch(r"g2-standard-(\d+)", instance)
    if standard and int(standard[1]) in _G2_L4S:
        return "L4", _G2_L4S[int(standard[1])]
    return None
