"""Metrics, feature extraction and the linear probe."""

from lbbt_mm.evaluation.bridge_accuracy import BridgeAccuracy
from lbbt_mm.evaluation.retrieval import RetrievalMetric

__all__ = ["BridgeAccuracy", "RetrievalMetric"]
