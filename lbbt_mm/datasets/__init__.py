"""Datasets: random labels around any dataset, and small real sets to try things on."""

from lbbt_mm.datasets.random_label import RandomLabelDataset
from lbbt_mm.datasets.small import IdxDataset, MNIST5k

__all__ = ["IdxDataset", "MNIST5k", "RandomLabelDataset"]
