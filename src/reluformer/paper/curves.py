"""A run's training as a small picture in a line of a table: the training loss, and the validation loss over it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

WIDTH, HEIGHT, EDGE = 168, 44, 3
CURVES = (("train", "#332288"), ("valid", "#cc6677"))


def curve(log: Sequence[Mapping[str, Any]]) -> str:
    """The losses of a run's log against its updates as SVG; empty where there is none.

    From 0 to the last update, and from the lowest loss to the highest; losses that are not numbers are left out.
    """
    series = {
        event: [
            (float(line["update"]), float(line["loss"]))
            for line in log
            if line["event"] == event and line.get("loss") is not None and math.isfinite(line["loss"])
        ]
        for event, _ in CURVES
    }
    points = [point for found in series.values() for point in found]
    if not points:
        return ""
    last = max(update for update, _ in points) or 1.0
    low, high = min(loss for _, loss in points), max(loss for _, loss in points)

    def place(update: float, loss: float) -> str:
        x = EDGE + (WIDTH - 2 * EDGE) * update / last
        y = EDGE + (HEIGHT - 2 * EDGE) * (high - loss) / ((high - low) or 1.0)
        return f"{x:.1f},{y:.1f}"

    lines = "".join(
        f'<polyline points="{" ".join(place(*point) for point in series[event])}" fill="none" stroke="{colour}" '
        f'stroke-width="1.4"/>'
        for event, colour in CURVES
        if series[event]
    )
    said = f"loss from {high:.2f} to {low:.2f} nats a token over {last:,.0f} updates"
    return (
        f'<svg class="curve" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img" '
        f'aria-label="{said}"><title>{said}</title>{lines}</svg>'
    )
