"""A bridged model that teaches a restart of itself."""

from __future__ import annotations

import copy
import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.logging import print_log
from mmengine.model import BaseModule
from torch import Tensor, nn

from lbbt_mm.language.errors import CheckpointError, MissingCheckpoint
from lbbt_mm.language.record import decode_record, encode_record, own_record
from lbbt_mm.language.storage import tensor_bytes
from lbbt_mm.models.backbone.bridge_source import other_use
from lbbt_mm.models.backbone.late_architecture import coming_checkpoint
from lbbt_mm.models.objectives.objectives import checked_weight
from lbbt_mm.models.pretrained import load_part, read_weights
from lbbt_mm.registry import MODELS


@MODELS.register_module()
class TeacherObjective(BaseModule):
    """Stay close to the features of a trained copy of the same model.

    Self-distillation for further pre-training (Lee et al. 2022, arXiv 2210.02871): a
    first run bridges the model; a second one starts again from the language model,
    with the same objectives and this one, whose teacher is the first run's result. The
    teacher sees the same images, without dropout, and does not learn.

    It is a copy of the classifier's backbone and neck with the weights of the
    checkpoint, which is read when training begins (``init_weights``) and only then: a
    student is tested without it. It is in no state dict: a student's checkpoint is as
    large as any other, and names its teacher's weights by their hash. A resumed run
    wants the same ones.

    Args:
        checkpoint: Of a classifier with the same backbone.
        distance: ``'mse'``, the mean squared difference over channels, or ``'cosine'``,
            1 minus the cosine, which a few large channels do not decide less, but their
            size does not count.
        weight: Factor of the loss.
        init_cfg: mmengine's initialisation.

    Raises:
        ValueError: An option is out of range.
        CheckpointError: The checkpoint is missing, is of another backbone or of one
            that ran its blocks otherwise; or a run is resumed with another teacher.

    Example:
        >>> objective = dict(name="teacher", type="lbbt_mm.TeacherObjective",
        ...                  checkpoint="work_dirs/BRIDGE/epoch_6.pth")
    """

    has_head, sees_images = False, True

    def __init__(
        self,
        checkpoint: str,
        distance: str = "mse",
        weight: float = 1.0,
        init_cfg: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        if distance not in ("mse", "cosine"):
            raise ValueError(
                f"TeacherObjective expects distance='mse' or 'cosine', got "
                f"{distance!r}."
            )
        self.checkpoint, self.distance = checkpoint, distance
        self.weight = checked_weight("TeacherObjective", weight)
        self._resumes = (coming_checkpoint() or ("", False))[1]
        # In tuples, which torch does not look into.
        self._student: tuple[nn.Module, ...] = ()
        self._teacher: tuple[nn.Module, ...] = ()
        self._record: dict[str, Any] = {}

    def bind(self, model: Any) -> None:
        """Take note of what is copied: the classifier's backbone and neck."""
        names = ("backbone", "neck")
        self._student = tuple(m for n in names if (m := getattr(model, n, None)))

    def init_weights(self) -> None:
        """Read the teacher.

        Raises:
            CheckpointError: See the class.
        """
        super().init_weights()
        if self._teacher:
            return
        backbone, path = self._student[0], Path(self.checkpoint).expanduser()
        if "://" not in self.checkpoint and not path.is_file():
            raise MissingCheckpoint(
                f"TeacherObjective expects the checkpoint {self.checkpoint}, found no "
                f"such file (from {Path.cwd()}): train it first, by the same config "
                "without a teacher, or name another one."
            )
        state = read_weights(self.checkpoint)
        record = own_record(state, self.checkpoint)
        use = getattr(getattr(backbone, "language", None), "use", {})
        other = other_use(use, record[1].get("use")) if record else []
        if other:
            raise CheckpointError(
                f"The teacher {self.checkpoint} was trained with {'; '.join(other)}: "
                "it would give other features than it learned. Set the backbone's "
                "options as they were, or name another checkpoint."
            )
        teacher = copy.deepcopy(self._student)
        digest = hashlib.sha256()
        for name, part in zip(("backbone", "neck"), teacher, strict=False):
            if part.state_dict():
                load_part(part, self.checkpoint, f"{name}.", state)
            part.requires_grad_(False)
            for value in part.parameters():
                digest.update(tensor_bytes(value))
        self._teacher = teacher
        self._record = dict(teacher=str(self.checkpoint), sha256=digest.hexdigest())
        print_log(f"TeacherObjective: {self.checkpoint} teaches.", logger="current")

    def loss(
        self,
        feats: Sequence[Tensor],
        data_samples: list[Any],
        views: int,
        images: Tensor,
    ) -> dict[str, Tensor]:
        """Compute the distance to the teacher's features, over all stages.

        Args:
            feats: Per stage (views * B, ..., C), of the student.
            data_samples: Not read.
            views: Not read.
            images: (views * B, C, H, W).

        Returns:
            ``loss``, weighted.

        Raises:
            CheckpointError: The teacher was not read.
        """
        if not self._teacher:
            raise CheckpointError(
                "TeacherObjective: the teacher is not there, call init_weights() as a "
                "runner does. Sharded training, where one process alone calls it, has "
                "no teacher."
            )
        wanted: Any = images
        with torch.no_grad():
            for part in self._teacher:
                wanted = part.to(images.device).eval()(wanted)
        pairs = [(a.float(), b.float()) for a, b in zip(feats, wanted, strict=True)]
        if self.distance == "mse":
            losses = [F.mse_loss(own, other) for own, other in pairs]
        else:
            losses = [1 - F.cosine_similarity(a, b, dim=-1).mean() for a, b in pairs]
        return dict(loss=torch.stack(losses).mean() * self.weight)

    def get_extra_state(self) -> Tensor:
        """Name the teacher in a checkpoint."""
        return encode_record(self._record)

    def set_extra_state(self, state: Tensor) -> None:
        """Compare the teacher of a checkpoint with this one.

        Raises:
            CheckpointError: A run is resumed, and they differ.
        """
        stored = decode_record(state) or {}
        if not self._record:  # a student that is tested keeps the name of its teacher
            self._record = {key: stored[key] for key in stored if key != "lbbt_mm"}
        elif "sha256" in stored and stored["sha256"] != self._record["sha256"]:
            said = (
                f"The checkpoint's student learned from {stored.get('teacher')}, and "
                f"the weights of {self.checkpoint} are others"
            )
            if self._resumes:
                raise CheckpointError(
                    f"{said}: set the teacher's checkpoint to the one that the run "
                    "began with, or begin a new run in another work folder."
                )
            print_log(f"{said}.", logger="current", level=logging.WARNING)
