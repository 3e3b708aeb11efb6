"""f in `out = f(q·Kᵀ)·V`: how a row of scores becomes a row of weights.

Every activation is `weights = f(c_i · scores + b_i)`: `factor` gives c_i, which the read folds into the query so that
the scores are touched once, `shift` gives b_i, and `forward` is f. To add one, derive from `Activation`, write
`forward`, and add a line to `reluformer.config.memory.ACTIVATIONS`. `rectified` has those of later papers.

Shapes: B batch, H heads, Q rows, K slots, D head width. A learned memory has no H: its weights are [B, Q, K].
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from typing import Any

import torch
from entmax import entmax15, sparsemax
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from reluformer.config.memory import ACTIVATIONS, MemoryConfig
from reluformer.memory.backends import AttentionOptions, FusedKernel, FusedRead
from reluformer.memory.backends.dispatch import fused_kernel
from reluformer.memory.mask import AttentionMask, RowMask

NARROW_HEAD, SHORT = 32, 48
"""Head width and slots up to which an unfused read with softmax is faster on a CPU than the fused kernel."""
SORTED = 512
"""A GPU fully sorts rows of up to this many scores: checking whether a partial sort suffices would synchronise."""
ADASPLASH = find_spec("adasplash") is not None


class Activation(nn.Module):
    """Base class of all activations. The constructor takes the options of `ACTIVATIONS` as keyword arguments.

    heads: H; 1 for a learned memory.
    """

    normalised = False
    """Whether each row of weights sums to 1; the read then zeroes rows that see no slot."""
    static = False
    """Whether a CUDA graph can capture `forward`: neither control flow nor shapes depend on values. If not, the search
    runs without graphs."""
    functor = ""
    """The name of `forward` in `backends.FUNCTORS`, if it is there: the fused kernels then apply."""

    def __init_subclass__(cls) -> None:
        if "forward" in vars(cls):  # not the base class's function
            cls.functor = vars(cls).get("functor", "")

    def __init__(self, heads: int = 1) -> None:
        super().__init__()

    def factor(self, count: Tensor | int) -> Tensor | float:
        """Returns c_i > 0, which multiplies the scores of row i. count: n_i, see `AttentionMask.count`."""
        return 1.0

    def shift(self, count: Tensor | int) -> Tensor | float:
        """Returns b_i, which is added to the scaled scores of row i. count: see `factor`."""
        return 0.0

    def forward(self, scores: Tensor) -> Tensor:
        """Returns weights of scores [..., Q, K], of the same shape and dtype. May overwrite `scores`.

        Hidden slots have a score near the dtype's most negative number and must get weight 0.
        """
        raise NotImplementedError

    def fused(self, query: Tensor, visible: AttentionMask, options: AttentionOptions) -> FusedKernel | None:
        """Returns a kernel that reads without storing weights, or None if none applies.

        query: [B, H, Q, D]. options: `keys` and `causal` are those of `visible`, unless it is a `RowMask`, which only
        its `bias` describes.
        """
        if not self.functor or isinstance(visible, RowMask):
            return None  # the kernels support padding masks and causal masks only
        if options.statistics and (self.functor != "relu" or options.shift is not None):
            return None
        return fused_kernel(query)


class Normalised(Activation):
    """Base class of the activations whose rows sum to 1: weights = f(scores / temperature)."""

    normalised = True

    def __init__(self, heads: int = 1, temperature: float = 1.0) -> None:
        super().__init__(heads)
        self.temperature = temperature

    def factor(self, count: Tensor | int) -> float:
        return 1.0 / self.temperature


class Softmax(Normalised):
    """weights_ij = exp(s_ij / temperature) / Σ_j exp(s_ij / temperature)."""

    static = True

    def forward(self, scores: Tensor) -> Tensor:
        return torch.softmax(scores, -1)

    def fused(self, query: Tensor, visible: AttentionMask, options: AttentionOptions) -> FusedKernel | None:
        if options.statistics or options.factor is not None or options.shift is not None:
            return None
        if query.device.type == "cpu" and (options.dropout > 0 or query.dtype.itemsize < 4 or _small(query, visible)):
            return None  # torch's CPU kernel has no dropout and is 2 to 7 times slower than ours in half precision
        return partial(_softmax_attention, visible)


def _softmax_attention(
    visible: AttentionMask, query: Tensor, key: Tensor, value: Tensor, options: AttentionOptions
) -> FusedRead:
    rows = query.size(-2)
    square = visible.causal and visible.keys is None and rows == visible.slots
    mask = None if square else visible.bias(rows, query)
    if mask is not None and mask.size(-2) != rows:
        mask = mask.expand(-1, -1, rows, -1)
    output = scaled_dot_product_attention(
        query, key, value, attn_mask=mask, dropout_p=options.dropout, is_causal=square, scale=options.scale
    )
    some = visible.some()
    return FusedRead(output if some is None else output * some)


def _small(query: Tensor, visible: AttentionMask) -> bool:
    """Returns whether an unfused softmax read is faster than torch's fused kernel; at 25 tokens it is twice as fast."""
    return query.size(-1) <= NARROW_HEAD and visible.slots <= SHORT


class ReLU(Activation):
    """weights_ij = max(s_ij, 0): the FFN's; in attention the paper's "direct ReLU" and, with its norm, ReLA's."""

    static = True
    functor = "relu"

    def forward(self, scores: Tensor) -> Tensor:
        return scores.relu_()


class ScaledReLU(ReLU):
    """Eq. 6: weights_ij = max(s_ij, 0) / (γ·√(n_i/2)), with γ a constant or learned for each head.

    ReLU is positively homogeneous, so fused kernels multiply the query by the factor. A learned γ is stored as log γ,
    so that it stays positive, and starts at 1.
    """

    def __init__(self, heads: int = 1, gamma: float | str = 1.0) -> None:
        super().__init__(heads)
        self.log_gamma: nn.Parameter | None = None
        self.gamma = 1.0
        if gamma == "learned":
            self.log_gamma = nn.Parameter(torch.zeros(heads, 1, 1))
        else:
            self.gamma = float(gamma)

    def factor(self, count: Tensor | int) -> Tensor | float:
        root = math.sqrt(2 / count) if isinstance(count, int) else (2 / count).sqrt_()
        return root / self.gamma if self.log_gamma is None else root * torch.exp(-self.log_gamma)


class Projection(Normalised):
    """A sparse projection of a row of scores onto the simplex, from the package `entmax`, in fp32 or more.

    Where a row of n weights is uniform, the derivative of a weight by its score is about 1/n under softmax, 1/√n under
    1.5-entmax and 1 under sparsemax: at softmax's learning rate the latter two turn sparse in a few hundred updates,
    before the model has learned to align. Temperatures of √n and n make the three equal (docs/demo.md).

    On CUDA, uses the kernels of the package `adasplash` if it is installed.
    """

    exact: Callable[..., Tensor]
    kernel: str
    """The function's name in adasplash."""
    few: int
    """The number of largest scores that are sorted first in rows of more than twice as many (on a GPU, also more than
    SORTED); the whole row is sorted only if they do not suffice. Compiled code always sorts whole rows."""

    def forward(self, scores: Tensor) -> Tensor:
        # hidden slots: small enough to get no weight, large enough to be squared and summed
        s = scores.to(torch.promote_types(scores.dtype, torch.float32)).clamp(min=-1e9)
        top = s.detach().amax(-1, keepdim=True)
        s = s.masked_fill(~top.isfinite(), 0.0)  # the packages fail on NaN; training reports it
        if s.is_cuda and ADASPLASH:
            weights = getattr(importlib.import_module("adasplash"), self.kernel)(s)
        else:
            whole = 2 * self.few if s.device.type == "cpu" else max(2 * self.few, SORTED)
            partly = not torch.compiler.is_compiling() and s.size(-1) > whole
            weights = type(self).exact(s, dim=-1, k=self.few if partly else None)
        return (weights + (top - top)).to(scores.dtype)


class Sparsemax(Projection):
    """The Euclidean projection of a row of scores onto the simplex (Martins and Astudillo 2016), exact."""

    exact, kernel, few = sparsemax, "triton_sparsemax", 32


class Entmax15(Projection):
    """The 1.5-entmax transformation of a row of scores (Peters et al. 2019), exact."""

    exact, kernel, few = entmax15, "triton_entmax15", 64


def build_activation(config: MemoryConfig, heads: int = 1) -> Activation:
    """Returns the activation that a memory's configuration names, with its options."""
    module, _, name = ACTIVATIONS[config.activation].target.partition(":")
    options: dict[str, Any] = config.options
    return getattr(importlib.import_module(module), name)(heads, **options)
