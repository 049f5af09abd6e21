"""Metrics, feature extraction and the linear probe."""

from lbbt_mm.evaluation.bridge_accuracy import BridgeAccuracy
from lbbt_mm.evaluation.retrieval import RetrievalMetric
from lbbt_mm.evaluation.vqa import MMVetSubmission, ScienceQAMetric, VQAMetric

__all__ = [
    "BridgeAccuracy",
    "MMVetSubmission",
    "RetrievalMetric",
    "ScienceQAMetric",
    "VQAMetric",
]
