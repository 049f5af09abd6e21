"""Metrics, feature extraction and the linear probe."""

from lbbt_mm.evaluation.bridge_accuracy import BridgeAccuracy

__all__ = ["BridgeAccuracy"]
