"""What training minimises: label-smoothed cross-entropy, plus λ times the penalty of Eq. 7.

Shapes: N real target tokens, V vocabulary, E model width; B, S, T as in the Transformer.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from reluformer.model.transformer import Transformer


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


class SmoothedCrossEntropy(torch.autograd.Function):
    """(loss_sum, nll_sum) of logits [N, V], which are overwritten, and targets int [N].

    loss = (1 − ε)·nll + ε/V · Σ_v −log p_v, in fp32 or more. One function because torch's keeps log p and passes over
    [N, V] seven times, which costs more than a layer of a small model; this one passes four times and keeps p alone.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, target: Tensor, smoothing: float) -> tuple[Tensor, Tensor]:
        wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
        chosen = wide.gather(1, target[:, None]).sum()
        mean = wide.mean(1).sum() if smoothing else wide.new_zeros(())
        log_sum = wide.logsumexp(1, keepdim=True)
        probability = wide.sub_(log_sum).exp_()
        total = log_sum.sum()
        nll = total - chosen
        ctx.save_for_backward(probability, target)
        ctx.smoothing, ctx.dtype = smoothing, logits.dtype
        ctx.mark_non_differentiable(nll)
        return (1 - smoothing) * nll + smoothing * (total - mean), nll

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor, None, None]:
        probability, target = ctx.saved_tensors
        slope = probability - ctx.smoothing / probability.size(1)
        slope.scatter_add_(1, target[:, None], slope.new_full((target.size(0), 1), ctx.smoothing - 1))
        return slope.mul_(grad).to(ctx.dtype), None, None


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
        logits = self.model.project(hidden[tgt_mask])
        target = tgt_out[tgt_mask]
        loss, nll = SmoothedCrossEntropy.apply(logits, target, self.label_smoothing)
        return Losses(loss, nll, penalty, tgt_mask.sum())
