"""What training minimises: label-smoothed cross-entropy, plus λ times the penalty of Eq. 7.

Shapes: N real target tokens, V vocabulary, E model width; B, S, T as in the Transformer.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from reluformer.model.transformer import Transformer

TILE = {True: 1 << 19, False: 1 << 26}
"""Elements of a tile of logits: on a CPU (true) 2 MiB of fp32, elsewhere what keeps the device busy."""


class Losses(NamedTuple):
    """One batch's losses.

    loss_sum: label-smoothed cross-entropy summed over the real target tokens, nats; carries the gradient.
    nll_sum: the same without smoothing; no gradient.
    penalty: λ · Eq. 7, a mean over rows, heads and memories; 0 where no memory has it; carries the gradient.
    tokens: N, the real target tokens, int.
    """

    loss_sum: Tensor
    nll_sum: Tensor
    penalty: Tensor
    tokens: Tensor


class ProjectedCrossEntropy(torch.autograd.Function):
    """(loss_sum, nll_sum) of hidden [N, E], the output matrix [V, E] and targets int [N], without the logits [N, V].

    loss = (1 − ε)·nll + ε/V · Σ_v −log p_v, in fp32 or more. Some rows at a time are projected, turned into their
    losses and at once into their share of both gradients, so that a tile of logits is all that is ever stored and, on
    a CPU, stays in its cache. Gradients are of a sum, so of the order of 1 a token, which fp16 holds unscaled.
    """

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, target: Tensor, smoothing: float) -> tuple[Tensor, Tensor]:
        wide = torch.promote_types(hidden.dtype, torch.float32)
        sums = torch.zeros(3, dtype=wide, device=hidden.device)  # of the log-sums, chosen logits, mean logits
        learning = ctx.needs_input_grad[0] or ctx.needs_input_grad[1]
        hidden_grad = torch.empty_like(hidden) if learning else None
        weight_grad = torch.zeros_like(weight, dtype=wide) if learning else None
        rows = max(16, TILE[hidden.device.type == "cpu"] // weight.size(0))
        for start in range(0, hidden.size(0), rows):
            h, t = hidden[start : start + rows], target[start : start + rows, None]
            logits = (h @ weight.T).to(wide)
            top = logits.amax(1, keepdim=True)
            sums[1] += logits.gather(1, t).sum()
            if smoothing:
                sums[2] += logits.mean(1).sum()
            exponentials = logits.sub_(top).exp_()
            total = exponentials.sum(1, keepdim=True)
            sums[0] += (total.log() + top).sum()
            if hidden_grad is not None and weight_grad is not None:
                slope = exponentials.div_(total).sub_(smoothing / weight.size(0))
                slope.scatter_add_(1, t, slope.new_full(t.shape, smoothing - 1))
                slope = slope.to(hidden.dtype)
                torch.mm(slope, weight, out=hidden_grad[start : start + rows])
                if weight.dtype == wide:
                    weight_grad.addmm_(slope.T, h)
                else:
                    weight_grad += slope.T @ h
        if learning:
            ctx.save_for_backward(hidden_grad, weight_grad)
        nll = sums[0] - sums[1]
        ctx.mark_non_differentiable(nll)
        return (1 - smoothing) * nll + smoothing * (sums[0] - sums[2]), nll

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor, Tensor, None, None]:
        hidden_grad, weight_grad = ctx.saved_tensors
        return (hidden_grad * grad).to(hidden_grad.dtype), (weight_grad * grad).to(hidden_grad.dtype), None, None


class Objective(nn.Module):
    """A Transformer and its training loss as one module, so that a training engine can wrap both.

    label_smoothing: ε, spread uniformly over the vocabulary as in fairseq. pad: the padding token, never a target.
    """

    def __init__(self, model: Transformer, label_smoothing: float, pad: int = 0) -> None:
        super().__init__()
        self.model = model
        self.label_smoothing = label_smoothing
        self.pad = pad

    def forward(self, src: Tensor, src_mask: Tensor, tgt_in: Tensor, tgt_out: Tensor, tgt_mask: Tensor) -> Losses:
        """src [B, S], tgt_in and tgt_out [B, T] int; masks bool of the same shapes, true on real tokens."""
        hidden, penalty = self.model.forward_with_penalty(src, src_mask, tgt_in, tgt_mask)
        loss, nll = ProjectedCrossEntropy.apply(
            hidden[tgt_mask], self.model.embeddings.output_weight, tgt_out[tgt_mask], self.label_smoothing
        )
        return Losses(loss, nll, penalty, tgt_mask.sum())
