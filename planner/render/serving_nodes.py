"""What GPUs and markets are called on the nodes of a Kubernetes cluster. Pure tables.

NVIDIA's names are what GPU feature discovery writes: the driver's product name with dashes for spaces
(https://github.com/NVIDIA/k8s-device-plugin, "GPU feature discovery"; ``shared/targets.md``, "Serving"). AMD's are its
node labeller's (https://instinct.docs.amd.com/projects/gpu-operator).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from planner.render.serving_names import label_value
from planner.serving.plan import Allocation

NVIDIA_RESOURCE, AMD_RESOURCE = "nvidia.com/gpu", "amd.com/gpu"
NVIDIA_LABEL, AMD_LABEL = "nvidia.com/gpu.product", "amd.com/gpu.product-name"
INSTANCE_TYPE_LABEL = "node.kubernetes.io/instance-type"
REGION_LABEL = "topology.kubernetes.io/region"

PRODUCTS: Mapping[str, str] = {
    "T4": "Tesla-T4",
    "V100": "Tesla-V100-SXM2-16GB",
    "L4": "NVIDIA-L4",
    "A10G": "NVIDIA-A10G",
    "A40": "NVIDIA-A40",
    "L40S": "NVIDIA-L40S",
    "A100-40GB": "NVIDIA-A100-SXM4-40GB",
    "A100-80GB": "NVIDIA-A100-SXM4-80GB",
    "H100": "NVIDIA-H100-80GB-HBM3",
    "H200": "NVIDIA-H200",
    "B200": "NVIDIA-B200",
    "GB200": "NVIDIA-GB200",
    "MI300X": "AMD_Instinct_MI300X_OAM",
}
"""Product label by our name of the GPU. A GPU that is not here is chosen by its instance type alone."""

PRODUCTS_OF_INSTANCES: Mapping[str, str] = {
    "Standard_NC24ads_A100_v4": "NVIDIA-A100-80GB-PCIe",
    "Standard_NC40ads_H100_v5": "NVIDIA-H100-NVL",
}
"""Instance types whose cards are of another form than most of their GPU type (Azure's pages of these sizes)."""

SPOT_LABELS: Mapping[str, tuple[tuple[str, str], ...]] = {
    "aws": (("karpenter.sh/capacity-type", "spot"), ("eks.amazonaws.com/capacityType", "SPOT")),
    "gcp": (("cloud.google.com/gke-spot", "true"),),
    "azure": (("kubernetes.azure.com/scalesetpriority", "spot"),),
}
"""What marks a spot node, any one of them: Karpenter and EKS node groups, GKE, AKS. Elsewhere nothing is known to."""

ANYWHERE = frozenset({"global", "given"})
"""Regions of the catalogue that no node has: a provider without regions."""


def resource(gpu: str) -> str:
    """What pods ask for to get ``gpu``s."""
    return AMD_RESOURCE if is_amd(gpu) else NVIDIA_RESOURCE


def is_amd(gpu: str) -> bool:
    """Whether ``gpu`` is AMD's, by its name."""
    return gpu.upper().startswith("MI")


def node_selector(unit: Allocation) -> dict[str, str]:
    """Labels that a node must have to run ``unit``."""
    product = PRODUCTS_OF_INSTANCES.get(unit.instance_type) or PRODUCTS.get(unit.gpu)
    selector = {AMD_LABEL if is_amd(unit.gpu) else NVIDIA_LABEL: product} if product else {}
    selector[INSTANCE_TYPE_LABEL] = unit.instance_type
    if unit.region not in ANYWHERE:
        selector[REGION_LABEL] = unit.region
    return {key: label_value(value) for key, value in selector.items()}


def market_terms(unit: Allocation) -> list[dict[str, Any]]:
    """``nodeSelectorTerms`` (any one must hold) that keep spot units on spot nodes and others off them."""
    labels = SPOT_LABELS.get(unit.provider, ())
    if unit.market == "spot":
        return [{"matchExpressions": [{"key": key, "operator": "In", "values": [value]}]} for key, value in labels]
    never = [{"key": key, "operator": "NotIn", "values": [value]} for key, value in labels]
    return [{"matchExpressions": never}] if never else []


def node_terms(unit: Allocation) -> list[dict[str, Any]]:
    """``nodeSelectorTerms`` that say all of ``node_selector`` and ``market_terms``, where only these are taken."""
    wanted = [{"key": key, "operator": "In", "values": [value]} for key, value in node_selector(unit).items()]
    terms = market_terms(unit) or [{"matchExpressions": []}]
    return [{"matchExpressions": [*wanted, *term["matchExpressions"]]} for term in terms]


def tolerations(unit: Allocation) -> list[dict[str, str]]:
    """Taints that GPU and spot nodes usually have."""
    found = [{"key": resource(unit.gpu), "operator": "Exists", "effect": "NoSchedule"}]
    if unit.market == "spot":
        found += [
            {"key": key, "operator": "Equal", "value": value, "effect": "NoSchedule"}
            for key, value in SPOT_LABELS.get(unit.provider, ())
        ]
    return found
