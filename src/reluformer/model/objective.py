"""The training objective: label-smoothed cross-entropy, plus λ times the penalty of Eq. 7.

Shapes: N real target tokens, V vocabulary, E model width; B, S, T as in the Transformer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from reluformer.model.transformer import Transformer
from reluformer.ops.cross_entropy import cross_entropy
from reluformer.ops.linear import Packed, product, worthwhile

TILE = {True: 1 << 22, False: 1 << 26}
"""Number of elements in a tile of logits: on a CPU (True) 16 MiB of fp32, elsewhere enough to keep the device busy.

Smaller tiles would fit into the cache, but their products lose more time than that saves.
"""
ROWS = 64
"""The number of rows in a tile is a multiple of this: on a CPU other numbers take up to a tenth longer."""


class Losses(NamedTuple):
    """One batch's losses.

    loss_sum: label-smoothed cross-entropy summed over the real target tokens, nats; carries the gradient.
    nll_sum: the same without smoothing; no gradient.
    penalty: λ · Eq. 7, a mean over rows and heads and the mean or sum over memories; 0 if none has it; carries the
        gradient.
    tokens: N, the real target tokens, int.
    """

    loss_sum: Tensor
    nll_sum: Tensor
    penalty: Tensor
    tokens: Tensor


class ProjectedCrossEntropy(torch.autograd.Function):
    """(loss_sum, nll_sum) of hidden [N, E], the output matrix [V, E] and targets int [N], without the logits [N, V].

    loss = (1 − ε)·nll + ε/V · Σ_v −log p_v, in fp32 or more. Projects a tile of rows at a time and turns it into
    losses and its share of both gradients immediately, so that only one tile of logits is stored. Smoothing needs no
    pass over the logits: their sum over v is h·Σ_v w_v, whose gradients have rank one. Products use autocast's dtype
    if it is on. Gradients are of a sum, so of order 1 per token, which fp16 represents without scaling.
    """

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, target: Tensor, smoothing: float) -> tuple[Tensor, Tensor]:
        device, vocabulary = hidden.device.type, weight.size(0)
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden.dtype
        wide = torch.promote_types(dtype, torch.float32)
        h, w = hidden.to(dtype), weight.to(dtype)
        nll = torch.zeros((), dtype=wide, device=hidden.device)
        chosen = torch.zeros_like(nll)  # Σ of the targets' logits
        learning = ctx.needs_input_grad[0] or ctx.needs_input_grad[1]
        hidden_grad = torch.empty_like(h) if learning else None
        weight_grad = torch.zeros_like(w, dtype=wide) if learning else None
        rows = max(ROWS, TILE[device == "cpu"] // vocabulary // ROWS * ROWS)
        project, project_back = _multiply_by(w, h[:rows]), _multiply_by(w.T, h[:rows])
        for start in range(0, h.size(0), rows):
            part, t = h[start : start + rows], target[start : start + rows, None]
            logits = project(part).to(wide)
            chosen += logits.gather(1, t).sum()
            losses, slope = cross_entropy(logits, t, 1 - smoothing if learning else None)
            nll += losses.sum()
            if hidden_grad is not None and weight_grad is not None:
                slope = slope.to(dtype)
                hidden_grad[start : start + rows] = project_back(slope)
                if dtype == wide:
                    weight_grad.addmm_(slope.T, part)
                else:
                    weight_grad += slope.T @ part
            del logits, slope  # frees their part of the cache for the next tile
        total_w, total_h = w.sum(0, dtype=wide), h.sum(0, dtype=wide)
        if hidden_grad is not None and weight_grad is not None:
            if smoothing:
                hidden_grad.sub_(total_w.to(dtype), alpha=smoothing / vocabulary)
                weight_grad.sub_(total_h, alpha=smoothing / vocabulary)
            ctx.save_for_backward(hidden_grad, weight_grad)
            ctx.dtypes = hidden.dtype, weight.dtype
        uniform = nll + chosen - total_h @ total_w / vocabulary  # Σ over rows of the mean of −log p
        ctx.mark_non_differentiable(nll)
        return (1 - smoothing) * nll + smoothing * uniform, nll

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor, Tensor, None, None]:
        gradients = ((saved * grad).to(dtype) for saved, dtype in zip(ctx.saved_tensors, ctx.dtypes, strict=True))
        return (*gradients, None, None)


def _multiply_by(weight: Tensor, like: Tensor) -> Callable[[Tensor], Tensor]:
    """Returns a function x [N, I] -> x · weight [O, I]ᵀ, for repeated products with about as many rows as `like`."""
    return Packed(weight) if worthwhile(like, weight) else lambda x: product(x, weight)


class Objective(nn.Module):
    """A Transformer and its training loss as one module, so that a training engine can wrap both.

    label_smoothing: ε, spread uniformly over the vocabulary as in fairseq.
    """

    def __init__(self, model: Transformer, label_smoothing: float) -> None:
        super().__init__()
        self.model = model
        self.label_smoothing = label_smoothing

    def forward(
        self,
        src: Tensor,
        src_mask: Tensor,
        tgt_in: Tensor,
        tgt_out: Tensor,
        tgt_mask: Tensor,
        real: Tensor | None = None,
    ) -> Losses:
        """Computes the losses; src [B, S], tgt_in, tgt_out [B, T] int; masks of the same shapes, true on real tokens.

        real: int64 [N], the indices in B·T where tgt_mask is true; without it the host waits for the GPU.
        """
        hidden, penalty = self.model.forward_with_penalty(src, src_mask, tgt_in, tgt_mask)
        if real is None:
            real = tgt_mask.flatten().nonzero().squeeze(1)
        loss, nll = ProjectedCrossEntropy.apply(
            hidden.flatten(0, 1).index_select(0, real),
            self.model.embeddings.output_weight,
            tgt_out.flatten().index_select(0, real),
            self.label_smoothing,
        )
        return Losses(loss, nll, penalty, tgt_mask.sum())
