"""Products with learned weights; on a CPU in fp32 by whichever of torch's two libraries is faster at them.

On an AMD EPYC with AVX-512, oneDNN computes large fp32 products about 15 to 20 % faster than MKL, which torch takes by
itself; gradients of weights, whose operands are both transposed, are as fast or faster in MKL. oneDNN makes a program
for every new shape (1 ms), so small products stay with MKL.

Shapes: I inputs, O outputs.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

LEAST = 1 << 28
"""Multiplications from which a product is worth a oneDNN program of its own."""

AVAILABLE = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def worthwhile(x: Tensor, weight: Tensor) -> bool:
    """Whether the product of x [..., I] and a weight [O, I] or [I, O] is faster by oneDNN."""
    return (
        AVAILABLE
        and x.numel() // x.size(-1) * weight.numel() >= LEAST
        and x.device.type == "cpu"
        and x.dtype == weight.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
    )


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x [..., I] · weight [O, I]ᵀ + bias [O] -> [..., O]; carries no gradient where oneDNN computes it."""
    if worthwhile(x, weight):
        found = torch.ops.mkldnn._linear_pointwise(x.flatten(0, -2), weight, bias, "none", [], "")
        # To autograd a tensor of its own, not a view: an activation may overwrite it.
        return torch.ops.aten._unsafe_view(found, [*x.shape[:-1], weight.size(0)])
    return functional.linear(x, weight, bias)


class _Linear(torch.autograd.Function):
    """`product` with its gradients."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return product(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        rows, inputs = grad.flatten(0, -2), x.flatten(0, -2)
        x_grad = weight_grad = bias_grad = None
        if ctx.needs_input_grad[0]:
            x_grad = product(grad, weight.T)
        if ctx.needs_input_grad[1]:  # laid out as the weight is, or it would be copied
            weight_grad = rows.T @ inputs if weight.is_contiguous() else (inputs.T @ rows).T
        if ctx.needs_input_grad[2]:
            bias_grad = rows.sum(0)
        return x_grad, weight_grad, bias_grad


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x [..., I] · weight [O, I]ᵀ + bias [O] -> [..., O]."""
    return _Linear.apply(x, weight, bias) if worthwhile(x, weight) else functional.linear(x, weight, bias)


class Linear(nn.Linear):
    """torch's layer, computed by `linear`."""

    def forward(self, x: Tensor) -> Tensor:
        """x [..., I] -> [..., O]."""
        return linear(x, self.weight, self.bias)


class LearnedSlots:
    """Keys or values [K, E] of a learned memory as `read` takes them, with a bias [K] of the scores."""

    def __init__(self, vectors: Tensor, bias: Tensor | None = None) -> None:
        self.vectors, self.bias = vectors, bias

    def scores(self, query: Tensor) -> Tensor:
        """query [..., E] -> [..., K]."""
        return linear(query, self.vectors, self.bias)

    def mix(self, weights: Tensor) -> Tensor:
        """weights [..., K] -> [..., E]."""
        return linear(weights, self.vectors.T)
