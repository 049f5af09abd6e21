"""How many neurons an image activates, block by block (figure 7)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lbbt_mm.analysis.images import follow_images
from lbbt_mm.models import LanguageBackbone

RULES = ("zero", "reference")
REFERENCE_FACTOR = 0.6


class BlockActivation(NamedTuple):
    """Activation ratio of one block.

    Attributes:
        block: Number of the block, from 0.
        ratio: Share of all (image, neuron) pairs that are activated, from 0 to 1.
        neuron_std: Standard deviation over neurons of the share of images that
            activate a neuron; the band in the reference's figure.
        threshold: What a neuron's mean over tokens has to exceed.
        images: Number of images.
        neurons: Number of neurons.
    """

    block: int
    ratio: float
    neuron_std: float
    threshold: float
    images: int
    neurons: int


def activation_ratio(
    backbone: LanguageBackbone,
    images: Iterable[Tensor],
    rule: str = "zero",
    progress: bool = False,
) -> list[BlockActivation]:
    """Measure the share of (image, neuron) pairs that are activated in each block.

    ``ratio = #{(i, n): a[i, n] > threshold} / (images * neurons)``, where ``a[i, n]``
    is a mean over all tokens of image i.

    Rule ``'zero'``, the paper's text with the threshold that its source lost: neurons
    are the MLP's, ``a`` is the mean of what leaves the non-linearity (in a gated MLP:
    the gate, before it is multiplied), and the threshold is 0.

    Rule ``'reference'``, the authors' code: neurons are the channels of the
    attention's output (after its output projection, before the stream), ``a`` is the
    mean of its absolute value, and the threshold is 0.6 times the mean of ``a`` over
    all images and neurons of the block. It is therefore blind to the scale of a block.

    A prefix in front of the patches is no token of an image and takes no part.

    The backbone runs in eval mode and over all tokens in every block, also where it
    returns the last token only; its modes and options are put back afterwards, whatever
    happens.

    Args:
        backbone: With its weights.
        images: Batches ``(B, in_channels, height, width)``, normalised as in training.
            The reference's rule goes through them twice, once for the threshold: a
            list or a data loader, not an iterator.
        rule: ``'zero'`` or ``'reference'``.
        progress: Show a progress bar.

    Returns:
        One for each block, in order. Blocks after the last of ``out_indices`` are not
        part of the network and not in the list.

    Raises:
        ValueError: The rule is unknown, there are no images, they do not fit, cannot
            be read twice, or a block's activations are not finite.

    Example:
        >>> backbone = LanguageBackbone("gpt2", pretrained=False, img_size=32)
        >>> [block.ratio for block in activation_ratio(backbone, [images])]
    """
    if rule not in RULES:
        raise ValueError(
            f"Expected a rule among {', '.join(RULES)}, got {rule!r}: take one of them."
        )
    if backbone.window_size is not None:
        raise ValueError(
            f"The activation ratio counts neurons over the tokens of an image; with "
            f"window_size={backbone.window_size} blocks run on padded windows of it: "
            f"measure the same weights without window_size and global_blocks."
        )
    thresholds = [torch.zeros((), dtype=torch.float64)] * (
        max(backbone.out_indices) + 1
    )
    if rule == "reference":
        if iter(images) is images:
            raise ValueError(
                "The reference's rule goes through the images twice, got an iterator "
                "that ends after once: give a list or a data loader."
            )
        totals, count = _totals(backbone, images, rule, None, progress)
        thresholds = [
            REFERENCE_FACTOR * total_N.sum() / (count * len(total_N))
            for total_N in totals
        ]
    totals, count = _totals(backbone, images, rule, thresholds, progress)
    shares = [active_N / count for active_N in totals]
    return [
        BlockActivation(
            block,
            float(share_N.mean()),
            float(share_N.std(correction=0)),
            float(thresholds[block]),
            count,
            len(share_N),
        )
        for block, share_N in enumerate(shares)
    ]


def _totals(
    backbone: LanguageBackbone,
    images: Iterable[Tensor],
    rule: str,
    thresholds: list[Tensor] | None,
    progress: bool,
) -> tuple[list[Tensor], int]:
    """Sum each block's means over tokens, or how often they pass a threshold.

    Returns:
        ``(neurons,)`` for each block, and the number of images.
    """
    kernel = backbone.patch_embed.projection.weight
    front = 0 if backbone.prefix is None else len(backbone.prefix.tokens)
    totals: dict[int, Tensor] = {}
    count = 0

    def watch(block: int) -> Callable[[nn.Module, Any, Tensor], None]:
        def take(module: nn.Module, inputs: Any, output: Tensor) -> None:
            values_BTN = output.abs() if rule == "reference" else output
            values_BTN = values_BTN[:, front:]
            # In float32 also under autocast: bfloat16 would round a mean's sign away.
            means_BN = values_BTN.float().mean(dim=1).double()
            if not torch.isfinite(means_BN).all():
                raise ValueError(
                    f"Expected finite activations, got nan or infinity in block "
                    f"{block}: look for them in the images and in the checkpoint's "
                    f"weights."
                )
            if thresholds is not None:
                means_BN = (means_BN > thresholds[block].to(means_BN)).double()
            totals[block] = totals.get(block, 0) + means_BN.sum(dim=0).cpu()

        return take

    hooks = []
    what = "activations" if thresholds else "activations, threshold"
    with _measuring(backbone), torch.no_grad():
        try:
            for index, block in enumerate(backbone.language.blocks):
                part: Any = block.out if rule == "reference" else block.activation
                hooks.append(part.register_forward_hook(watch(index)))
            for batch in follow_images(images, kernel.shape[1], what, progress):
                backbone(batch.to(kernel.device, kernel.dtype))
                count += len(batch)
        finally:
            for hook in hooks:
                hook.remove()
    return [total for _, total in sorted(totals.items())], count


@contextmanager
def _measuring(backbone: LanguageBackbone) -> Iterator[None]:
    """Put the backbone into eval mode, and let its last block compute all tokens."""
    modes = [(module, module.training) for module in backbone.modules()]
    out_type = backbone.out_type
    backbone.eval()
    backbone.out_type = "raw"
    try:
        yield
    finally:
        backbone.out_type = out_type
        # Not train(): somebody may have set the modes of single parts by hand.
        for module, mode in modes:
            module.training = mode
