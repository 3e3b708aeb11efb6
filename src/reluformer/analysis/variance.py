"""The variance of a module's output: relative to its residual, and by the number n of slots that a row sees.

The paper's "variance ratio" of FFNs, and its length-variance law: "x, v ~ N(0, 1): Σ over n of ReLU(x_i)·v_i ~ N(0,
n/2)". So the variance of direct ReLU attention grows with n, that of Eq. 6 does not, and that of Softmax falls as about
e/n; `write_variance_law` measures this on Gaussian inputs, without training.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from reluformer.analysis.accumulate import Variance
from reluformer.analysis.rows import Rows
from reluformer.config.memory import MemoryConfig
from reluformer.files import write_json
from reluformer.memory.activations import build_activation
from reluformer.memory.mask import AttentionMask
from reluformer.memory.read import read

# Inclusive upper borders of the buckets of n_i: powers of two and the midpoints between them.
BORDERS = sorted([2**k for k in range(17)] + [3 * 2**k for k in range(15)])
LENGTHS = (8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096)
ACTIVATIONS = ("relu", "relu-scaled", "softmax")
READS = 8192  # independent reads of each n: the variance's relative standard error is about 2 %
READS_AT_ONCE = 512


class ModuleVariance:
    """Variance ratio = Var[output] / Var[residual].

    Each is the population variance of all features of all real tokens of the split around their common mean. output:
    what the module adds to the residual, after its output norm and projection; residual: what it is added to.
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

    lengths: the mean n_i of the rows in each non-empty bucket, ascending; variance: the variance of their outputs. The
    buckets are (…, 8, 12, 16, 24, 32, …]. Attention only: an FFN has one n.
    """

    def __init__(self) -> None:
        self._variance = Variance(len(BORDERS))
        self._counts = self._rows = torch.zeros(len(BORDERS), dtype=torch.float64)

    def update(self, rows: Rows) -> None:
        bucket = torch.bucketize(rows.counts, torch.tensor(BORDERS, device=rows.counts.device))
        bucket = bucket.clamp(max=len(BORDERS) - 1)
        self._variance.add(rows.output, bucket)
        at = bucket.cpu()
        self._counts = self._counts + torch.bincount(at, rows.counts.cpu().double(), minlength=len(BORDERS))
        self._rows = self._rows + torch.bincount(at, minlength=len(BORDERS))

    def result(self) -> dict[str, Any]:
        filled = self._rows > 0
        variance = [v for v, some in zip(self._variance.result(), filled.tolist(), strict=True) if some]
        return {"variance_by_length": {"lengths": (self._counts / self._rows)[filled].tolist(), "variance": variance}}


def measured_variance(activation: str, n: int, seed: int, reads: int = READS) -> float:
    """Returns the variance over independent reads of n slots by `activation` with its default options.

    Uses the model's own read, with query 1, keys x and values v of width 1, so the scores are x ~ N(0, 1). Equal seeds
    give every activation the same x and v.
    """
    f = build_activation(MemoryConfig.model_validate({"activation": activation}))
    visible = AttentionMask(n)
    random = torch.Generator().manual_seed(seed)
    outputs = []
    for start in range(0, reads, READS_AT_ONCE):
        x, v = torch.randn(2, min(READS_AT_ONCE, reads - start), 1, n, 1, generator=random)
        with torch.no_grad():
            outputs.append(read(torch.ones_like(x[:, :, :1]), x, v, f, visible, observe=True).output.flatten())
    return float(torch.cat(outputs).double().var(correction=0))


def write_variance_law(output: Path, seed: int) -> None:
    """Writes variance_law.json: `n`, `theory_direct` (n/2) and `measured`, the variances of each activation."""
    law = {
        "n": list(LENGTHS),
        "theory_direct": [n / 2 for n in LENGTHS],  # n · E[ReLU(x)²] · E[v²]
        "measured": {name: [measured_variance(name, n, seed) for n in LENGTHS] for name in ACTIVATIONS},
    }
    write_json(output, law)
