"""Time and power of matrix products that were not measured, from a sweep of those that were."""

from profiles.gemm.predictor import GemmPredictor, Predicted

__all__ = ["GemmPredictor", "Predicted"]
