"""Datasets: random, few and other labels around any dataset; small real sets."""

from lbbt_mm.datasets.checks.damaged import DamagedImageError
from lbbt_mm.datasets.corrupt_image import CorruptImage
from lbbt_mm.datasets.few_labels import FewLabelDataset
from lbbt_mm.datasets.few_true_labels import FewTrueLabelsDataset
from lbbt_mm.datasets.image_tiles import ImageTiles
from lbbt_mm.datasets.label_field import InstanceLabelDataset
from lbbt_mm.datasets.pack_conversation import PackConversation
from lbbt_mm.datasets.random_area_crop import RandomAreaCrop
from lbbt_mm.datasets.random_label import RandomLabelDataset
from lbbt_mm.datasets.rotation import RotationDataset
from lbbt_mm.datasets.skip_damaged import SkipDamagedImages
from lbbt_mm.datasets.small import IdxDataset, MNIST5k
from lbbt_mm.datasets.tiny_imagenet import TinyImageNet
from lbbt_mm.datasets.views import collate_views
from lbbt_mm.datasets.vqa import ConversationDataset, VQADataset

__all__ = [
    "ConversationDataset",
    "CorruptImage",
    "DamagedImageError",
    "FewLabelDataset",
    "FewTrueLabelsDataset",
    "IdxDataset",
    "ImageTiles",
    "InstanceLabelDataset",
    "MNIST5k",
    "PackConversation",
    "RandomAreaCrop",
    "RandomLabelDataset",
    "RotationDataset",
    "SkipDamagedImages",
    "TinyImageNet",
    "VQADataset",
    "collate_views",
]
