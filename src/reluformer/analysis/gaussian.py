"""The length-variance law of the paper on Gaussian inputs, without any training.

"x, v ~ N(0, 1): Σ over n of ReLU(x_i)·v_i ~ N(0, n/2)": the variance of direct ReLU attention grows with n, that of
Eq. 6 does not, and that of Softmax falls as about e/n.
"""

from __future__ import annotations

from pathlib import Path

import torch

from reluformer.config.memory import MemoryConfig
from reluformer.files import write_json
from reluformer.memory.activations import build_activation
from reluformer.memory.mask import AttentionMask
from reluformer.memory.read import read

LENGTHS = (8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096)
ACTIVATIONS = ("relu", "relu-scaled", "softmax")
READS = 8192  # independent reads of each n: the variance's relative standard error is about 2 %
READS_AT_ONCE = 512


def theory_direct(n: int) -> float:
    """Var[Σ_i ReLU(x_i)·v_i] = n · E[ReLU(x)²] · E[v²] = n/2."""
    return n / 2


def measured_variance(activation: str, n: int, seed: int, reads: int = READS) -> float:
    """The variance of `activation`'s read of n slots, over independent reads, with its default options.

    The model's own read, with query 1, keys x and values v of width 1, so that the scores are the x ~ N(0, 1). Equal
    seeds give every activation the same x and v.
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
        "theory_direct": [theory_direct(n) for n in LENGTHS],
        "measured": {name: [measured_variance(name, n, seed) for n in LENGTHS] for name in ACTIVATIONS},
    }
    write_json(output, law)
