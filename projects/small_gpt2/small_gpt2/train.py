"""The training loop of projects/small_gpt2/pretrain.py."""

from __future__ import annotations

import contextlib
import io
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _launch import write_whole
from torch import nn

from small_gpt2.model import adamw, language_loss
from small_gpt2.tokens import Windows, held_out_windows

WARM_UP = 0.02  # share of the budget
LAST_LR = 0.1  # share of the learning rate
POINTS = 100  # of the curve
QUICK_WINDOWS = 64  # held out, for the curve


class TrainingError(Exception):
    """Training cannot go on; the message is one sentence for the user."""


@dataclass(frozen=True)
class Budget:
    """How long to train: a number of steps, or of seconds of training.

    Attributes:
        steps: Steps of the optimiser; the same seed then gives the same run.
        seconds: Time; the learning rate follows the time used, so that the schedule
            ends on time however fast the machine is, and whatever else it does.
    """

    steps: int | None = None
    seconds: float | None = None

    def share(self, step: int, seconds: float) -> float:
        """Say how much of it is used, from 0 to 1."""
        used = step / self.steps if self.steps else seconds / self.seconds
        return min(1.0, used)


@dataclass
class State:
    """Where training stands.

    Attributes:
        step: Steps done.
        seconds: Time used, over all resumed parts.
        curve: One record for each hundredth of the budget.
    """

    step: int = 0
    seconds: float = 0.0
    curve: list[dict[str, Any]] = field(default_factory=list)


class Trainer:
    """Train a GPT-2 on windows of text with AdamW, warm-up and cosine.

    Args:
        model: It, on its device.
        windows: What to train on.
        held_out: Stream of tokens to measure on, ``(n,)``.
        budget: How long.
        batch: Windows of a step.
        micro: Windows of one forward pass.
        lr: The highest learning rate.
        weight_decay: Of the blocks' matrices.
        dtype: ``torch.bfloat16`` for autocast, or ``torch.float32``.
    """

    def __init__(
        self,
        model: nn.Module,
        windows: Windows,
        held_out: np.ndarray,
        budget: Budget,
        batch: int,
        micro: int,
        lr: float,
        weight_decay: float,
        dtype: torch.dtype,
    ) -> None:
        self.model, self.windows, self.held_out = model, windows, held_out
        self.budget, self.batch, self.micro = budget, batch, micro
        self.lr, self.dtype = lr, dtype
        self.state = State()
        self.device = next(model.parameters()).device
        self.optimizer = adamw(model, lr, weight_decay)

    def learning_rate(self, share: float) -> float:
        """Linear warm-up, then a cosine to a tenth, by the share of the budget."""
        if share < WARM_UP:
            # Never 0, which the first step by time would be.
            return self.lr * max(0.01, share / WARM_UP)
        cosine = (1 + math.cos(math.pi * (share - WARM_UP) / (1 - WARM_UP))) / 2
        return self.lr * (LAST_LR + (1 - LAST_LR) * cosine)

    def run(
        self,
        show: Callable[[str], None],
        save: Callable[[], None],
        save_seconds: float,
    ) -> None:
        """Train until the budget is used up.

        Args:
            show: Told where training stands, after every step.
            save: Called every ``save_seconds`` and at the end.
            save_seconds: See there.

        Raises:
            TrainingError: The loss is not finite; the weights are then not saved.
        """
        state, before = self.state, self.state.seconds
        start = saved = time.monotonic()
        at, losses = (state.step, state.seconds), []
        while (share := self.budget.share(state.step, state.seconds)) < 1:
            losses.append(self.step(self.learning_rate(share)))
            state.step += 1
            now = time.monotonic()
            state.seconds = before + now - start
            after = self.budget.share(state.step, state.seconds)
            speed = self._tokens(state.step - at[0]) / (state.seconds - at[1])
            show(self._line(losses[-1], speed, after))
            if int(after * POINTS) > int(share * POINTS):
                measure = not state.curve or int(after * 20) > int(share * 20)
                self._record(losses, speed, after, measure)
                at, losses = (state.step, before + time.monotonic() - start), []
            if after >= 1 or now - saved > save_seconds:
                save()
                saved = now

    def step(self, lr: float) -> float:
        """Train on one batch.

        Args:
            lr: Learning rate.

        Returns:
            Its loss.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        first = self.state.step * self.batch
        total = 0.0
        for done in range(0, self.batch, self.micro):
            count = min(self.micro, self.batch - done)
            windows = self.windows.get(first + done, count).to(self.device)
            with self.autocast():
                loss = language_loss(self.model, windows) * (count / self.batch)
            loss.backward()
            total += loss.item()
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        if not (math.isfinite(total) and math.isfinite(norm)):
            raise TrainingError(
                f"the loss or its gradient was not finite at step {self.state.step + 1}"
                f" (loss {total}); give a lower --lr than {self.lr:g}."
            )
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return total

    def autocast(self) -> contextlib.AbstractContextManager:
        """Run in ``dtype``."""
        if self.dtype == torch.float32:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=self.dtype)

    def held_out_loss(self, most: int | None = None) -> tuple[float, int]:
        """Measure on held-out text, each token once, in windows side by side.

        Args:
            most: At most so many windows, spread evenly; None for all.

        Returns:
            Sum of the loss in nats, and how many tokens it is of.
        """
        self.model.eval()
        total, count = 0.0, 0
        with torch.no_grad(), self.autocast():
            for windows in held_out_windows(
                self.held_out, self.windows.context, self.micro, most
            ):
                loss = language_loss(self.model, windows.to(self.device), "sum")
                total += loss.item()
                count += windows[:, 1:].numel()
        self.model.train()
        return total, count

    def fastest_dtype(self, show: Callable[[str], None]) -> torch.dtype:
        """Time a forward and backward pass in float32 and bfloat16; weights stay.

        Args:
            show: Told what came out.
        """
        seconds = {}
        windows = self.windows.get(0, self.micro).to(self.device)
        for dtype in (torch.float32, torch.bfloat16):
            self.dtype = dtype
            for _ in range(2):  # the first warms up
                start = time.monotonic()
                with self.autocast():
                    loss = language_loss(self.model, windows)
                loss.backward()
                loss.item()
                seconds[dtype] = time.monotonic() - start
                self.optimizer.zero_grad(set_to_none=True)
        fastest = min(seconds, key=seconds.get)
        speeds = (
            f"{_name(d)} {windows[:, 1:].numel() / s:.0f}" for d, s in seconds.items()
        )
        show(f"tokens/s: {', '.join(speeds)}; takes {_name(fastest)}")
        return fastest

    def write(self, path: Path) -> None:
        """Save everything that is needed to go on.

        Args:
            path: File; complete, or as it was.
        """
        buffer = io.BytesIO()
        content = dict(
            state=asdict(self.state),
            dtype=_name(self.dtype),
            model=self.model.state_dict(),
            optimizer=self.optimizer.state_dict(),
        )
        torch.save(content, buffer)  # torch hides why a file could not be written
        write_whole(path, buffer.getvalue())

    def read(self, path: Path) -> None:
        """Go on from a file that :meth:`write` wrote.

        Args:
            path: It.
        """
        content = torch.load(path, map_location=self.device, weights_only=True)
        self.model.load_state_dict(content["model"])
        self.optimizer.load_state_dict(content["optimizer"])
        self.state = State(**content["state"])
        self.dtype = getattr(torch, content["dtype"])

    def _tokens(self, steps: int) -> int:
        return steps * self.batch * self.windows.context

    def _record(
        self, losses: list[float], speed: float, share: float, measure: bool
    ) -> None:
        point = dict(
            step=self.state.step,
            tokens=self._tokens(self.state.step),
            seconds=round(self.state.seconds, 1),
            lr=self.learning_rate(share),
            loss=sum(losses) / len(losses),
            tokens_per_second=round(speed),
        )
        if measure:
            total, count = self.held_out_loss(QUICK_WINDOWS)
            point["held_out_loss"] = total / count
        self.state.curve.append(point)

    def _line(self, loss: float, speed: float, share: float) -> str:
        left = self.state.seconds / share * (1 - share)
        if self.budget.seconds:
            left = max(0.0, self.budget.seconds - self.state.seconds)
        text = (
            f"step {self.state.step}, {self._tokens(self.state.step) / 1e6:.2f} M "
            f"tokens, loss {loss:.3f}, {speed:.0f} tokens/s, {left / 60:.1f} min left"
        )
        measured = [p for p in self.state.curve if "held_out_loss" in p]
        if measured:
            text += (
                f", held-out perplexity {math.exp(measured[-1]['held_out_loss']):.1f}"
            )
        return text


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
