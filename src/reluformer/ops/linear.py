"""Products with learned weights; for fp32 on a CPU, by the faster of torch's two libraries.

On an AMD EPYC with AVX-512, oneDNN computes large fp32 products 15 to 50 % faster than MKL, torch's default; with AVX2
alone, 5 to 20 %. Gradients of weights, whose operands are both transposed, are as fast or faster in MKL. oneDNN
compiles a program for every new shape (1 ms), so small products stay with MKL.

For inference `Packed` keeps constant weights in the layout of oneDNN's kernels: a step of a search multiplies few rows
with large matrices, and torch's own linear repacks the matrix each time. On the 40 rows of a beam of 5 over 8
sentences a packed 512 x 10,000 projection takes 0.57 of its time, on 240 rows 0.8.

Shapes: I inputs, O outputs.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from reluformer.ops.int8 import Int8

LEAST = 1 << 28
"""The fewest multiplications for which a oneDNN program pays off."""

PACKED_ROWS = 64
"""The number of rows that a packed weight's layout is chosen for; it works with any number."""

AVAILABLE = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def worthwhile(x: Tensor, weight: Tensor) -> bool:
    """Returns whether oneDNN is faster at the product of x [..., I] and a weight [O, I] or [I, O]."""
    return (
        AVAILABLE
        and x.numel() // x.size(-1) * weight.numel() >= LEAST
        and x.device.type == "cpu"
        and x.dtype == weight.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
    )


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x [..., I] · weight [O, I]ᵀ + bias [O] -> [..., O]; not differentiable with oneDNN."""
    if worthwhile(x, weight):
        flat = torch.ops.mkldnn._linear_pointwise(x.flatten(0, -2), weight, bias, "none", [], "")
        # not a view to autograd: an activation may overwrite it
        return torch.ops.aten._unsafe_view(flat, [*x.shape[:-1], weight.size(0)])
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
        if ctx.needs_input_grad[1]:  # in the weight's layout, to avoid a copy
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


class Packed(nn.Module):
    """x · Wᵀ + b, without gradients; serves as keys or values (see `read.Slots`), or replaces an `nn.Linear`.

    weight: [O, I] fp32. bias: [O] or None.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        super().__init__()
        self.weight = torch.ops.mkldnn._reorder_linear_weight(weight.detach().contiguous(), PACKED_ROWS)
        self.bias = None if bias is None else bias.detach()

    def forward(self, x: Tensor) -> Tensor:
        """x [..., I] -> [..., O]."""
        return torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, "none", [], "")

    scores = mix = forward
    """The products with keys [O, I] and with values, transposed to [O, I]; see `read.Slots`."""


ConstantProduct = type[Packed] | type[Int8]
"""Builds a module that multiplies by a constant weight [O, I] and adds a bias [O] or None, without gradients."""


def packable(weight: Tensor) -> bool:
    """Returns whether oneDNN can pack a weight: fp32 on a CPU."""
    available = AVAILABLE and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")
    return available and weight.device.type == "cpu" and weight.dtype == torch.float32


def pack(model: nn.Module, product: ConstantProduct = Packed) -> None:
    """Packs every weight of a model for inference, if all are packable.

    Linear modules are replaced and lose their parameters; modules with a method `pack` pack their own.

    product: `Packed`, or `int8.Int8`.
    """
    if not all(packable(weight) for weight in model.parameters()):
        return
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.Linear):
                setattr(module, name, product(child.weight, child.bias))
        if callable(own := getattr(module, "pack", None)):
            own(product)
