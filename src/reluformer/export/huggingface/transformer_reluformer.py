"""The Transformer of an exported run in plain torch: every layer reads a memory, out = f(q·Kᵀ)·V.

Equations are those of "A Study on ReLU and Softmax in Transformer" (https://arxiv.org/abs/2302.06461). Parameters have
the same names as in training.

Shapes: B batch, H heads, S source tokens, T target tokens, Q rows of a read, K slots, E model width, V vocabulary.
Masks are true on real tokens; sequences are padded on the right.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout, embedding, linear

HIDDEN = -1e9


class Int8:
    """x · Wᵀ + b in int8 by oneDNN, on a CPU, without gradients; one scale per row of W [O, I] and per row of x."""

    levels = 127 if torch.cpu._is_vnni_supported() else 63  # without VNNI, pairs of products are added in 16 bits

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        weight, self.bias = weight.detach().float(), bias
        self.scale = weight.abs().amax(1).clamp_min(1e-38) / 127
        rows = (weight / self.scale[:, None]).round().to(torch.int8)
        self.weight = torch.ops.onednn.qlinear_prepack(rows.contiguous(), None)
        self.zero = torch.zeros(len(weight), dtype=torch.long)

    def __call__(self, x: Tensor) -> Tensor:
        """x [..., I] -> [..., O]."""
        if x.device.type != "cpu":
            raise ValueError(f"precision int8 is for a CPU, not for {x.device.type}")
        rows = x.detach().flatten(0, -2)
        scale = rows.abs().amax(1, keepdim=True).clamp_min(1e-38) / self.levels
        quantised = (rows / scale).round_().add_(self.levels).to(torch.uint8)
        weight = quantised, 1.0, self.levels, self.weight, self.scale, self.zero
        product = torch.ops.onednn.qlinear_pointwise(*weight, None, 1.0, 0, torch.float32, "none", [], "").mul_(scale)
        product = product if self.bias is None else product.add_(self.bias.detach())
        return product.unflatten(0, x.shape[:-1])


class Activation(nn.Module):
    """Maps a row's scores s to weights f(c_i · s + b_i); `config` names f and its options."""

    def __init__(self, config: dict[str, Any], heads: int) -> None:
        super().__init__()
        self.name = config["activation"]
        self.options = {"temperature": 1.0, "gamma": 1.0, "alpha": 1.0, "bias": 1.0, **config["options"]}
        learned = self.options["gamma"] == "learned"
        self.log_gamma = nn.Parameter(torch.zeros(heads, 1, 1)) if learned else None
        self.slope = nn.Parameter(torch.zeros(heads, 1, 1)) if self.name == "softmax-scalable" else None
        self.logit = nn.Parameter(torch.zeros(heads, 1, 1)) if self.name == "entmax" else None

    def forward(self, scores: Tensor, mask: Tensor | None) -> Tensor:
        """scores [..., Q, K], mask bool broadcastable to it or None if every row sees every slot -> [..., Q, K]."""
        visible = scores.new_ones((), dtype=torch.bool) if mask is None else mask
        count = scores.new_tensor(scores.size(-1)) if mask is None else mask.sum(-1, keepdim=True).clamp(min=1)
        factor, shift = self._affine(count)
        scores = scores * factor + shift
        if self.name in SIMPLEX or self.logit is not None:
            hidden = scores.masked_fill(~visible, HIDDEN)
            weights = SIMPLEX[self.name](hidden) if self.logit is None else entmax(hidden, self.logit)
            return weights if mask is None else weights * mask.any(-1, keepdim=True)
        if self.name == "softpick":
            scale = -scores.masked_fill(~visible, 0).amax(-1, keepdim=True).clamp(min=0)
            powers = ((scores + scale).exp() - scale.exp()).masked_fill(~visible, 0)
            return powers.relu() / (powers.abs().sum(-1, keepdim=True) + 1e-8 * scale.exp())
        if self.name == "sigmoid":
            return scores.sigmoid() * visible
        return (scores.relu() * visible).square() if self.name == "relu-squared" else scores.relu() * visible

    def _affine(self, count: Tensor) -> tuple[Tensor | float, Tensor | float]:
        """Returns c_i and b_i for rows that see `count` slots (n_i)."""
        options = self.options
        if self.name == "relu-scaled":  # Eq. 6: 1 / (γ·√(n_i/2))
            gamma = options["gamma"] if self.log_gamma is None else self.log_gamma.exp()
            return (2 / count).sqrt() / gamma, 0.0
        if self.name in ("relu-length", "relu-squared"):
            return count ** (-options["alpha"] / (2 if self.name == "relu-squared" else 1)), 0.0
        if self.name == "relu-shifted":
            return 1 / count, options["bias"] / count
        if self.name == "softplus":
            return count.clamp(min=2).log(), 0.0
        if self.slope is not None:
            return self.slope * count.log(), 0.0
        return 1 / options["temperature"], -count.log() if self.name == "sigmoid" else 0.0


def sparsemax(scores: Tensor) -> Tensor:
    """The Euclidean projection onto the simplex (Martins and Astudillo 2016): max(s - τ, 0)."""
    scores = scores - scores.amax(-1, keepdim=True)
    ordered = scores.sort(-1, descending=True).values
    rank = torch.arange(1, scores.size(-1) + 1, device=scores.device)
    total = ordered.cumsum(-1) - 1
    support = (rank * ordered > total).sum(-1, keepdim=True)
    return (scores - total.gather(-1, support - 1) / support).clamp(min=0)


def entmax15(scores: Tensor) -> Tensor:
    """1.5-entmax (Peters et al. 2019): max(s/2 - τ, 0)²."""
    halves = scores / 2
    halves = halves - halves.amax(-1, keepdim=True)
    ordered = halves.sort(-1, descending=True).values
    rank = torch.arange(1, scores.size(-1) + 1, device=scores.device)
    mean = ordered.cumsum(-1) / rank
    spread = rank * (ordered.square().cumsum(-1) / rank - mean.square())
    threshold = mean - ((1 - spread) / rank).clamp(min=0).sqrt()
    support = (threshold <= ordered).sum(-1, keepdim=True)
    return (halves - threshold.gather(-1, support - 1)).clamp(min=0).square()


def entmax(scores: Tensor, logit: Tensor) -> Tensor:
    """α-entmax, α = 1 + σ(logit) (Correia, Niculae and Martins 2019): max((α - 1)·s - τ, 0)^(1/(α - 1)), τ bisected."""
    power = logit.sigmoid()
    scores = scores * power
    low = scores.amax(-1, keepdim=True) - 1
    width = 1 - scores.size(-1) ** -power
    for _ in range(50):
        width = width / 2
        low = torch.where(
            ((scores - low - width).clamp(min=0) ** (1 / power)).sum(-1, keepdim=True) >= 1, low + width, low
        )
    weights = (scores - low).clamp(min=0) ** (1 / power)
    return weights / weights.sum(-1, keepdim=True)


def softplus(scores: Tensor) -> Tensor:
    """softplus(s_j) / Σ softplus(s) (Gao and Spratling 2025)."""
    weights = nn.functional.softplus(scores)
    return weights / weights.sum(-1, keepdim=True).clamp(min=torch.finfo(weights.dtype).tiny)


SIMPLEX: dict[str, Callable[[Tensor], Tensor]] = {
    "softmax": nn.Softmax(-1),
    "sparsemax": sparsemax,
    "entmax15": entmax15,
    "softmax-scalable": nn.Softmax(-1),
    "softplus": softplus,
}
RELUS = ("relu", "relu-scaled", "relu-length", "relu-squared", "relu-shifted")
ACTIVATIONS = (*RELUS, "sigmoid", "softpick", "entmax", *SIMPLEX)
"""The activations that `Activation` implements."""


class GatedRMSNorm(nn.Module):
    """scale · x / rms(x) · sigmoid(gate · x): the output norm of ReLA (Zhang, Titov and Sennrich 2021)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(width))
        self.gate = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """x [..., E] -> [..., E]."""
        return self.scale * x * (x.square().mean(-1, keepdim=True) + 1e-8).rsqrt() * torch.sigmoid(self.gate * x)


class Memory(nn.Module):
    """What the memories share: the activation, and the norm and gate after the read."""

    def __init__(self, config: dict[str, Any], width: int, heads: int, weight_dropout: float) -> None:
        super().__init__()
        self.activation = Activation(config, heads)
        self.head_norm: nn.Module | None = None
        if config["output_norm"] in ("rmsnorm", "gated-rmsnorm"):
            gated = config["output_norm"] == "gated-rmsnorm"
            self.head_norm = GatedRMSNorm(width) if gated else nn.RMSNorm(width, eps=1e-8)
        self.gate = nn.Linear(width, heads) if config["output_gate"] else None
        self.layernorm = nn.LayerNorm(width) if config["output_norm"] == "layernorm" else None
        self.weight_dropout = weight_dropout

    def weights(self, scores: Tensor, mask: Tensor | None = None) -> Tensor:
        """Returns f(scores), with dropout in training."""
        return dropout(self.activation(scores, mask), self.weight_dropout, self.training)


class FeedForward(Memory):
    """The FFN: f(x·Kᵀ)·V with learned K and V [slots, E]."""

    def __init__(self, model: dict[str, Any], config: dict[str, Any]) -> None:
        super().__init__(config, model["width"], 1, weight_dropout=0.0)
        shape = model["slots"], model["width"]
        self.key, self.value = nn.Parameter(torch.zeros(shape)), nn.Parameter(torch.zeros(shape))
        self.key_bias = nn.Parameter(torch.zeros(shape[0])) if model["ffn_bias"] else None
        self.value_bias = nn.Parameter(torch.zeros(shape[1])) if model["ffn_bias"] else None
        self.int8: tuple[Int8, Int8] | None = None

    def quantise(self) -> None:
        """Switches the products with keys and values to int8."""
        self.int8 = Int8(self.key, self.key_bias), Int8(self.value.T, self.value_bias)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, L, E] -> [B, L, E]."""
        if self.int8 is None:
            output = linear(self.weights(linear(x, self.key, self.key_bias)), self.value.T, self.value_bias)
        else:
            scores, mix = self.int8
            output = mix(self.weights(scores(x)))
        output = output if self.gate is None else output * self.gate(x).sigmoid()
        output = output if self.head_norm is None else self.head_norm(output)
        return output if self.layernorm is None else self.layernorm(output)


class Attention(Memory):
    """H reads with scale 1/√(E/H), concatenated and projected; reads its own sequence, or another one (`cross`)."""

    def __init__(self, model: dict[str, Any], config: dict[str, Any], cross: bool = False) -> None:
        super().__init__(config, model["width"], model["heads"], model["attention_dropout"])
        self.heads, width, bias = model["heads"], model["width"], model["attention_bias"]
        self.output = nn.Linear(width, width, bias)
        normed = config["query_key_norm"]
        self.query_norm = nn.RMSNorm(width // self.heads, 1e-6) if normed else nn.Identity()
        self.key_norm = nn.RMSNorm(width // self.heads, 1e-6) if normed else nn.Identity()
        if cross:
            self.query, self.key_value = nn.Linear(width, width, bias), nn.Linear(width, 2 * width, bias)
        else:
            self.query_key_value = nn.Linear(width, 3 * width, bias)

    def forward(self, x: Tensor, mask: Tensor, source: Tensor | None = None) -> Tensor:
        """x [B, Q, E], mask bool [B|1, 1, Q|1, K], source [B, K, E] -> [B, Q, E]."""
        if source is None:
            query, key, value = self.query_key_value(x).chunk(3, -1)
        else:
            query, (key, value) = self.query(x), self.key_value(source).chunk(2, -1)
        query, key, value = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (query, key, value))
        scores = self.query_norm(query) @ self.key_norm(key).mT / math.sqrt(query.size(-1))
        output = (self.weights(scores, mask) @ value).transpose(1, 2)
        output = (output if self.gate is None else output * self.gate(x).sigmoid()[..., None]).flatten(2)
        output = self.output(output if self.head_norm is None else self.head_norm(output))
        return output if self.layernorm is None else self.layernorm(output)


class Residual(nn.Module):
    """x + memory(x), with LayerNorm after the sum (`post`) or before the memory (`pre`)."""

    def __init__(self, model: dict[str, Any], memory: Memory) -> None:
        super().__init__()
        self.memory = memory
        self.norm = nn.LayerNorm(model["width"])
        self.pre, self.dropout = model["norm"] == "pre", model["dropout"]

    def forward(self, x: Tensor, *read: Tensor) -> Tensor:
        """x [B, L, E] -> [B, L, E]; read: the memory's other inputs."""
        output = dropout(self.memory(self.norm(x) if self.pre else x, *read), self.dropout, self.training)
        return x + output if self.pre else self.norm(x + output)


class Layer(nn.Module):
    """Self-attention, cross-attention in a decoder, and the FFN. `place`: `encoder.0`, `decoder.0`, ..."""

    def __init__(self, model: dict[str, Any], memories: dict[str, dict[str, Any]], place: str) -> None:
        super().__init__()
        self.attention = Residual(model, Attention(model, memories[f"{place}.attention"]))
        cross = memories.get(f"{place}.cross_attention")
        self.cross_attention = Residual(model, Attention(model, cross, cross=True)) if cross else None
        self.ffn = Residual(model, FeedForward(model, memories[f"{place}.ffn"]))

    def forward(self, x: Tensor, mask: Tensor, *source: Tensor) -> Tensor:
        """x [B, L, E] -> [B, L, E]; source: in a decoder, the mask and the encoded source."""
        x = self.attention(x, mask)
        return self.ffn(x if self.cross_attention is None else self.cross_attention(x, *source))


class Embeddings(nn.Module):
    """Token embeddings with sinusoidal positions, and the vocabulary projection; shared matrices exist once."""

    def __init__(self, vocabulary: int, width: int, share: str) -> None:
        super().__init__()
        self.target = nn.Parameter(torch.zeros(vocabulary, width))
        self.source = None if share == "all" else nn.Parameter(torch.zeros(vocabulary, width))
        self.output = nn.Parameter(torch.zeros(vocabulary, width)) if share == "none" else None

    def forward(self, tokens: Tensor, matrix: Tensor | None) -> Tensor:
        """tokens int [B, L] -> [B, L, E]; matrix: the source's, or None if it shares the target's."""
        vectors = embedding(tokens, self.target if matrix is None else matrix)
        return vectors * math.sqrt(vectors.size(-1)) + sinusoids(tokens.size(1), vectors.size(-1)).to(vectors)


def sinusoids(length: int, width: int) -> Tensor:
    """Returns positions 0 .. length-1 as [length, width]: sines, then cosines, as in fairseq."""
    half = width // 2
    steps = torch.exp(torch.arange(half) * -(math.log(10_000) / max(half - 1, 1)))
    angles = torch.arange(length)[:, None] * steps
    return nn.functional.pad(torch.cat([angles.sin(), angles.cos()], 1), (0, width - 2 * half))


class Transformer(nn.Module):
    """The encoder-decoder of a run.

    model: the run's `model`. memories: place (`encoder.0.attention`) -> activation, its options, norms and gate.
    """

    def __init__(self, model: dict[str, Any], memories: dict[str, dict[str, Any]]) -> None:
        super().__init__()
        self.dropout = model["dropout"]
        self.embeddings = Embeddings(model["vocabulary"], model["width"], model["share_embeddings"])
        self.encoder = nn.ModuleList(Layer(model, memories, f"encoder.{i}") for i in range(model["encoder_layers"]))
        self.decoder = nn.ModuleList(Layer(model, memories, f"decoder.{i}") for i in range(model["decoder_layers"]))
        pre = model["norm"] == "pre"
        self.encoder_norm = nn.LayerNorm(model["width"]) if pre else None
        self.decoder_norm = nn.LayerNorm(model["width"]) if pre else None
        self.int8: Int8 | None = None

    def quantise(self) -> None:
        """Switches all products with weights to int8, for inference on a CPU; parameters are kept."""
        self.int8 = Int8(self._output_weight)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                module.forward = Int8(module.weight, module.bias)  # type: ignore[assignment]
            elif isinstance(module, FeedForward):
                module.quantise()

    def encode(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """tokens int [B, S], mask bool [B, S] -> [B, S, E]."""
        x = dropout(self.embeddings(tokens, self.embeddings.source), self.dropout, self.training)
        for layer in self.encoder:
            x = layer(x, mask[:, None, None, :])
        return x if self.encoder_norm is None else self.encoder_norm(x)

    def decode(self, source: Tensor, mask: Tensor, tokens: Tensor) -> Tensor:
        """Encoded source [B, S, E], its mask bool [B, S], tokens int [B, T], BOS first -> logits [B, T, V]."""
        x = dropout(self.embeddings(tokens, None), self.dropout, self.training)
        causal = torch.ones(tokens.size(1), tokens.size(1), dtype=torch.bool, device=tokens.device).tril()
        for layer in self.decoder:
            x = layer(x, causal[None, None], mask[:, None, None, :], source)
        x = x if self.decoder_norm is None else self.decoder_norm(x)
        return linear(x, self._output_weight) if self.int8 is None else self.int8(x)

    @property
    def _output_weight(self) -> Tensor:
        return self.embeddings.target if self.embeddings.output is None else self.embeddings.output
