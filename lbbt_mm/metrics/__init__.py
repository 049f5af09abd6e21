"""Metrics that a config names, and baselines that never look at an image."""

from lbbt_mm.metrics.bridge_accuracy import BridgeAccuracy
from lbbt_mm.metrics.retrieval import RetrievalMetric
from lbbt_mm.metrics.vqa import MMVetSubmission, ScienceQAMetric, VQAMetric

__all__ = [
    "BridgeAccuracy",
    "MMVetSubmission",
    "RetrievalMetric",
    "ScienceQAMetric",
    "VQAMetric",
]
