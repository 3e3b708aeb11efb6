"""Writing the arrays of an analysis: whole or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from reluformer.files import replace


def write_arrays(path: Path, arrays: Mapping[str, NDArray]) -> None:
    """Writes named arrays as a compressed npz."""
    replace(path, lambda temporary: np.savez_compressed(temporary, allow_pickle=False, **arrays))
