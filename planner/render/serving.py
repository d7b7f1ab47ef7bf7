"""Serving plans as cluster software takes them. Pure: plan in, file names and texts out.

What each reads is in ``shared/targets.md``, "Serving". Plans that cannot be run are refused in ``serving_units``.
"""

from __future__ import annotations

from planner.render.renderer import Renderer
from planner.render.serving_aibrix import aibrix
from planner.render.serving_dstack import dstack
from planner.render.serving_dynamo import dynamo
from planner.render.serving_kubernetes import kubernetes
from planner.render.serving_llm_d import llm_d
from planner.render.serving_production_stack import production_stack
from planner.render.serving_skypilot import skypilot
from planner.serving.plan import ServingPlan

RENDERERS: dict[str, Renderer[ServingPlan]] = {
    renderer.target: renderer
    for renderer in (
        Renderer("serving", "kubernetes", "Kubernetes: plain manifests, a Deployment per unit, routes", kubernetes),
        Renderer("serving", "production-stack", "vLLM production-stack: Helm values", production_stack),
        Renderer("serving", "aibrix", "AIBrix: the Kubernetes objects, PodAutoscalers, GPU profiles", aibrix),
        Renderer("serving", "dynamo", "NVIDIA Dynamo: a DynamoGraphDeployment per service", dynamo),
        Renderer("serving", "llm-d", "llm-d: Helm values of a modelservice per unit", llm_d),
        Renderer("serving", "skypilot", "SkyPilot 0.14: a SkyServe service per unit", skypilot),
        Renderer("serving", "dstack", "dstack 0.22: fleets, and a service per unit", dstack),
    )
}
