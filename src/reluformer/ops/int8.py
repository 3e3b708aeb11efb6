"""Products with constant weights in int8, for decoding on a CPU.

A weight [O, I] has a static scale per row; the rows of x are quantised dynamically, each with its own scale, so
outliers in one sentence do not reduce the precision of others in its batch. Both are symmetric. oneDNN multiplies and
accumulates in int32; C++ (`int8.cpp`), else torch, quantises x and rescales the result.

Shapes: I inputs, O outputs, R rows.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from reluformer.ops.paths import call, library, require_close

SOURCE = Path(__file__).with_name("int8.cpp")
AVAILABLE = torch.backends.mkldnn.is_available() and hasattr(torch.ops.onednn, "qlinear_prepack")
LEVELS = 127 if torch.cpu._is_vnni_supported() else 63
"""x is quantised to -LEVELS .. LEVELS: without VNNI, oneDNN adds pairs of products in 16 bits."""


class Int8(nn.Module):
    """x · Wᵀ + b in int8, without gradients; replaces `ops.linear.Packed`.

    weight: [O, I] fp32. bias: [O] or None.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        super().__init__()
        weight = weight.detach()
        self.scale = weight.abs().amax(1).clamp_min(torch.finfo(torch.float32).tiny) / 127
        rows = (weight / self.scale[:, None]).round().to(torch.int8)
        self.weight = torch.ops.onednn.qlinear_prepack(rows.contiguous(), None)
        self.zero = torch.zeros(len(weight), dtype=torch.long)
        self.bias = None if bias is None else bias.detach().contiguous()

    def forward(self, x: Tensor) -> Tensor:
        """x [..., I] -> [..., O]."""
        quantised, scale = quantise(x.reshape(-1, x.size(-1)).contiguous())
        product = torch.ops.onednn.qlinear_pointwise(
            *(quantised, 1.0, LEVELS, self.weight, self.scale, self.zero),
            *(None, 1.0, 0, torch.float32, "none", [], ""),
        )
        return rescale(product, scale, self.bias).view(*x.shape[:-1], len(self.scale))

    scores = mix = forward
    """The products with keys [O, I] and with values, transposed to [O, I]; see `read.Slots`."""


def quantise(x: Tensor) -> tuple[Tensor, Tensor]:
    """Returns x [R, I] as uint8 with zero point LEVELS, and the scale [R] of each row; NaN makes a row's scale NaN."""
    if library(SOURCE) is None:
        scale = x.abs().amax(1) / LEVELS
        shifted = x / scale.clamp_min(torch.finfo(torch.float32).tiny)[:, None] + (LEVELS + 0.5)
        return shifted.nan_to_num().to(torch.uint8), scale
    quantised, scale = torch.empty(x.shape, dtype=torch.uint8), x.new_empty(len(x))
    numbers = [*x.shape, LEVELS, torch.get_num_threads(), x.data_ptr(), quantised.data_ptr(), scale.data_ptr()]
    call(SOURCE, "int8_quantise", numbers)
    return quantised, scale


def rescale(product: Tensor, scale: Tensor, bias: Tensor | None) -> Tensor:
    """Computes product [R, O] · scale [R] + bias [O] in place and returns it."""
    if library(SOURCE) is None:
        product.mul_(scale[:, None])
        return product if bias is None else product.add_(bias)
    numbers = [*product.shape, torch.get_num_threads(), product.data_ptr(), scale.data_ptr()]
    call(SOURCE, "int8_rescale", [*numbers, 0 if bias is None else bias.data_ptr()])
    return product


@torch.no_grad()
def prove(_: str) -> None:
    """Compares the products with those in fp64; a proof of `ops.paths`."""
    generator = torch.Generator().manual_seed(1)
    for rows, inputs, outputs in ((5, 48, 75), (70, 200, 33)):
        x, weight, bias = (
            torch.randn(*size, generator=generator) for size in ((rows, inputs), (outputs, inputs), (1, outputs))
        )
        quantised, scale = quantise(x)
        require_close("a quantised row", (quantised.double() - LEVELS) * scale[:, None], x, 0.6 / LEVELS)
        reference = x.double() @ weight.double().T + bias
        require_close("a product in int8", Int8(weight, bias[0])(x), reference, 0.05)
