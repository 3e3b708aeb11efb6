"""How large a module's output is: beside its residual, and against the number of slots that a row sees.

Section on the variance of FFN outputs ("variance ratio") and the length-variance law of the paper.
"""

from __future__ import annotations

from typing import Any

import torch

from reluformer.analysis.accumulate import Variance
from reluformer.analysis.rows import Rows

# Borders of the buckets of n_i: powers of two and halfway between them, each up to and with its border.
BORDERS = sorted([2**k for k in range(17)] + [3 * 2**k for k in range(15)])


class ModuleVariance:
    """Variance ratio = Var[output] / Var[residual].

    Each variance is one number: the population variance of all features of all real tokens of the split around their
    common mean. output: what the module adds to the residual, after what follows the read and the output projection;
    residual: what it is added to. Unit: squared activations; the ratio has none.
    """

    def __init__(self) -> None:
        self._output = Variance()
        self._residual = Variance()

    def update(self, rows: Rows) -> None:
        self._output.add(rows.output)
        self._residual.add(rows.residual)

    def result(self) -> dict[str, Any]:
        (output,), (residual,) = self._output.result(), self._residual.result()
        ratio = output / residual if output is not None and residual else None
        return {"variance_ratio": ratio, "output_variance": output, "residual_variance": residual}


class VarianceByLength:
    """Var[output] of the rows that see about the same number n_i of slots, as in `ModuleVariance`.

    lengths: the mean n_i of the rows of each bucket with any, ascending; variance: that of their outputs. The buckets
    are (…, 8, 12, 16, 24, 32, …]. Attention only: an FFN has one n.
    """

    def __init__(self) -> None:
        self._variance = Variance(len(BORDERS))
        self._counts = torch.zeros(len(BORDERS), dtype=torch.float64)
        self._rows = torch.zeros(len(BORDERS), dtype=torch.float64)

    def update(self, rows: Rows) -> None:
        bucket = torch.bucketize(rows.counts, torch.tensor(BORDERS, device=rows.counts.device))
        bucket = bucket.clamp(max=len(BORDERS) - 1)
        self._variance.add(rows.output, bucket)
        at = bucket.cpu()
        self._counts.index_add_(0, at, rows.counts.cpu().double())
        self._rows.index_add_(0, at, torch.ones(len(at), dtype=torch.float64))

    def result(self) -> dict[str, Any]:
        filled = self._rows > 0
        variance = [v for v, some in zip(self._variance.result(), filled.tolist(), strict=True) if some]
        return {"variance_by_length": {"lengths": (self._counts / self._rows)[filled].tolist(), "variance": variance}}
