"""Fused attention for weights f(score), without storing them: C++ for CPUs, Triton for GPUs, tiles in plain torch.

Shapes: B batch, H heads, Q rows (queries), K slots (keys), D head width.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

from reluformer.ops.dropout import draw_seed

TRITON_WIDEST = 128
"""Head width up to which the Triton kernel is used."""


class Functor(NamedTuple):
    """f of a fused read. Kernels store no scores, so the slope is a function of the weight alone.

    Attributes:
        weight: f(scores); may overwrite them.
        slope: f'(score) as a function of f(score).
    """

    weight: Callable[[Tensor], Tensor]
    slope: Callable[[Tensor], Tensor]


FUNCTORS = {
    "relu": Functor(Tensor.relu_, lambda s: (s > 0).to(s.dtype)),
    "relu-squared": Functor(lambda x: x.relu_().square_(), lambda s: 2 * s.sqrt()),
    "sigmoid": Functor(Tensor.sigmoid_, lambda s: s * (1 - s)),
}
"""By name, in the order of cpu.cpp; `functors.hpp` and `triton_kernels.py` implement the same functions."""


class AttentionOptions(NamedTuple):
    """The arguments of a fused read other than query, key and value.

    Attributes:
        keys: bool [B, K], true where a slot is visible; None if all are.
        causal: row i sees the slots up to K − Q + i.
        scale: multiplies the scores.
        dropout: probability, on the weights.
        seed: of dropout; None draws one.
        statistics: whether to return the sums that the penalty needs.
        factor: c_i > 0, [B|1, H|1, Q|1, 1], multiplies the scores of row i; None for 1.
        shift: b_i, [B|1, 1, Q|1, 1] or a scalar, added to the scaled scores of row i, without a gradient; None for 0.
        function: f, a name of FUNCTORS.
    """

    keys: Tensor | None = None
    causal: bool = False
    scale: float = 1.0
    dropout: float = 0.0
    seed: int | None = None
    statistics: bool = False
    factor: Tensor | None = None
    shift: Tensor | None = None
    function: str = "relu"


class FusedRead(NamedTuple):
    """The result of a fused read, which does not store its weights.

    Attributes:
        output: [B, H, Q, D].
        total: Σ_j s_ij of the weights before dropout, [B, H, Q] in fp32 or more; None without `statistics`.
        logs: Σ_j s_ij log s_ij, likewise.
    """

    output: Tensor
    total: Tensor | None = None
    logs: Tensor | None = None


FusedKernel = Callable[[Tensor, Tensor, Tensor, AttentionOptions], FusedRead]
"""Reads key and value [B, H, K, D] with query [B, H, Q, D]; once differentiable in these three and in the factor."""


def prepare(query: Tensor, options: AttentionOptions, keep_factor: bool = False) -> tuple[Tensor, AttentionOptions]:
    """Draws a seed for dropout if none is given, and multiplies the query by c_i.

    keep_factor: leaves c_i to the kernel, which multiplies by it while it packs the query.
    """
    if options.seed is None:
        options = options._replace(seed=draw_seed() if options.dropout > 0 else 0)
    if options.factor is not None and not keep_factor:
        query = query * (options.factor * options.scale).to(query.dtype)
        options = options._replace(scale=1.0, factor=None)
    return query, options
