"""An attention map in a terminal: shaded cells, with tokens beside and above them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from rich.cells import cell_len, set_cell_size

SHADES = " ░▒▓█"
CELL = 2
"""Columns of a cell, so that it is about square."""
LONGEST = 14
"""Columns of a token's label."""


def shaded(weights: NDArray, queries: Sequence[str], keys: Sequence[str], width: int) -> str:
    """The map [Q, K] as text of at most `width` columns; keys that do not fit go on in further blocks.

    A cell is the darker the larger its weight, up to the 99th percentile of all, as in the report's figures; only a
    weight of 0 is blank. Keys are written downwards above their cells.
    """
    top = float(np.percentile(weights, 99)) or float(weights.max()) or 1.0
    levels = np.rint(np.clip(weights / top, 0, 1) * (len(SHADES) - 1)).astype(int).clip(min=weights > 0)
    margin = min(LONGEST, max(map(cell_len, queries)))
    room = max(1, (width - margin - 1) // CELL)
    blocks = []
    for first in range(0, len(keys), room):
        shown = [key[:LONGEST] for key in keys[first : first + room]]
        tall = max(map(len, shown))
        lines = [
            " " * (margin + 1) + "".join(set_cell_size(character, CELL) for character in row)
            for row in zip(*(key.rjust(tall) for key in shown), strict=True)
        ]
        for query, row in zip(queries, levels[:, first : first + room], strict=True):
            cells = "".join(SHADES[level] * CELL for level in row)
            lines.append(f"{set_cell_size(query[:LONGEST].rjust(margin), margin)} {cells}")
        blocks.append("\n".join(line.rstrip() for line in lines))
    return "\n\n".join(blocks)
