"""Pictures of runs, for people."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from lbbt_mm.files import write_whole
from lbbt_mm.report.chart import COLOURS, chance_line, panels, style
from lbbt_mm.runs.log import BridgeCurve


@style()
def bridge_and_probe_figure(
    curves: Mapping[str, BridgeCurve],
    probes: Mapping[str, tuple[float, float]],
    chance: float,
    path: Path,
) -> None:
    """Draw how the arms fit random labels, and what a linear probe then finds.

    Args:
        curves: Arm -> its bridge.
        probes: Arm -> test accuracy of its probe without and with the bridge, in %.
        chance: Accuracy of guessing, in %.
        path: Picture to write; its suffix decides the format.
    """
    from matplotlib.ticker import MaxNLocator

    figure, (left, right) = panels(2, 4.0, 5.0)
    for arm, curve in curves.items():
        colour = COLOURS.get(arm, COLOURS["other"])[0]
        epochs = sorted(curve.train_acc)
        accuracies = [curve.train_acc[epoch] for epoch in epochs]
        name = f"{arm}: {accuracies[-1]:.0f} % at the end"
        left.plot(epochs, accuracies, color=colour, marker="o", ms=3, label=name)
        clean = sorted(curve.random_acc)
        left.plot(
            clean,
            [curve.random_acc[epoch] for epoch in clean],
            color=colour,
            ls="none",
            marker="D",
            mfc="white",
            label=f"{arm}, clean pass",
        )
    chance_line(left, chance)
    left.set(
        title="Bridge: fitting random labels",
        xlabel="epoch",
        ylabel="training accuracy, %",
        ylim=(0, 102),
    )
    left.xaxis.set_major_locator(MaxNLocator(integer=True))
    left.margins(x=0.08)
    left.legend(loc="upper left")

    width = 0.35
    for place, (arm, pair) in enumerate(probes.items()):
        for side, (value, name) in enumerate(
            zip(pair, ("without", "after"), strict=True)
        ):
            bar = right.bar(
                place + (side - 0.5) * width,
                value,
                width * 0.94,
                color=COLOURS.get(arm, COLOURS["other"])[0],
                alpha=1.0 if side else 0.45,
            )
            right.bar_label(bar, labels=[f"{value:.1f}\n{name}"], padding=2, fontsize=9)
    chance_line(right, chance)
    right.set(
        title="Linear probe: without and after the bridge",
        ylabel="test accuracy with true labels, %",
        ylim=(0, 115),
        xticks=range(len(probes)),
        xticklabels=list(probes),
        yticks=range(0, 101, 20),
    )
    write_whole(path, lambda part: figure.savefig(part, dpi=150))
