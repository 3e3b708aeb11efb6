"""An exported ReLUFormer, or a model of another system, as a model of Hugging Face's transformers.

Shapes: B batch, S source tokens, T target tokens, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import GenerationMixin, LogitsProcessor, LogitsProcessorList, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput, Seq2SeqLMOutput

from .transformer_reluformer import Transformer


class ReLUFormerConfig(PretrainedConfig):
    """The contents of config.json.

    run: the configuration of the training run; `run["model"]` is the model's shape. text: how text is prepared.
    memories: by place (`encoder.0.attention`), each memory's activation, the activation's options, norms and gate.
    precision: `fp32`, or `int8` for products with quantised weights, on a CPU.
    """

    model_type = "reluformer"

    def __init__(
        self,
        run: dict[str, Any] | None = None,
        text: dict[str, Any] | None = None,
        memories: dict[str, dict[str, Any]] | None = None,
        precision: str = "fp32",
        **kwargs: Any,
    ) -> None:
        self.run = run or {}
        self.text = text or {}
        self.memories = memories or {}
        if precision not in ("fp32", "int8"):
            raise ValueError(f"precision: {precision!r}: choose fp32 or int8")
        self.precision = precision
        super().__init__(**kwargs)


class SourceEncoder:
    """The encoder with the interface that `generate` calls; its parameters belong to the Transformer."""

    def __init__(self, transformer: Transformer) -> None:
        self.transformer = transformer

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, **_: Any) -> BaseModelOutput:
        """input_ids [B, S], attention_mask [B, S] -> last_hidden_state [B, S, E]."""
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        return BaseModelOutput(last_hidden_state=self.transformer.encode(input_ids, mask.bool()))

    __call__ = forward


class AllowedTokens(LogitsProcessor):
    """Bans padding and BOS, forces EOS at the length limit, and translates blank sources to nothing.

    limits, blank: [B], for each source.
    """

    def __init__(self, limits: Tensor, blank: Tensor, config: ReLUFormerConfig) -> None:
        self.limits = limits
        self.blank = blank
        self.config = config

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """input_ids [B·beam, 1 + t], scores [B·beam, V]: log-probabilities of the next token."""
        produced = input_ids.size(1) - 1
        scores = scores.clone()
        end = scores[:, self.config.eos_token_id].clone()
        scores[:, [self.config.pad_token_id, self.config.bos_token_id]] = -torch.inf
        beams = len(scores) // len(self.limits)
        blank = self.blank.repeat_interleave(beams)
        scores[(produced >= self.limits.repeat_interleave(beams)) | blank] = -torch.inf
        scores[:, self.config.eos_token_id] = end if produced else end.masked_fill(~blank, -torch.inf)
        return scores


class ReLUFormerForTranslation(PreTrainedModel, GenerationMixin):
    """The Transformer of the run, with the beam search of transformers."""

    config_class = ReLUFormerConfig
    base_model_prefix = "transformer"
    main_input_name = "input_ids"

    def __init__(self, config: ReLUFormerConfig) -> None:
        super().__init__(config)
        self.transformer = Transformer(config.run["model"], config.memories)
        self.post_init()

    @classmethod
    def from_pretrained(cls, *args: Any, **kwargs: Any) -> Any:
        """Loads the model as transformers does, then quantises it if the precision is int8."""
        loaded = super().from_pretrained(*args, **kwargs)
        model = loaded[0] if isinstance(loaded, tuple) else loaded
        if model.config.precision == "int8":
            model.transformer.quantise()
        return loaded

    def train(self, mode: bool = True) -> ReLUFormerForTranslation:
        """Sets the mode as torch does; raises `ValueError` if a quantised model would train."""
        if mode and self.transformer.int8 is not None:
            raise ValueError("an int8 model can only translate: load it with precision='fp32' to train it")
        return super().train(mode)

    def get_encoder(self, *_: Any, **__: Any) -> SourceEncoder:
        """Returns the encoder for `generate`."""
        return SourceEncoder(self.transformer)

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        decoder_input_ids: Tensor | None = None,
        encoder_outputs: Any = None,
        labels: Tensor | None = None,
        **_: Any,
    ) -> Seq2SeqLMOutput:
        """Returns logits [B, T, V] of the token after each of decoder_input_ids [B, T], which start with BOS.

        input_ids, attention_mask: [B, S]. labels: [B, T], -100 to ignore; they give a loss and, without
        decoder_input_ids, the decoder's input.
        """
        if encoder_outputs is None:
            assert input_ids is not None
            encoder_outputs = self.get_encoder()(input_ids, attention_mask)
        source = encoder_outputs[0]
        if attention_mask is None:
            attention_mask = torch.ones(source.shape[:2], device=source.device)
        if decoder_input_ids is None:
            assert labels is not None
            shifted = torch.where(labels == -100, self.config.pad_token_id, labels).roll(1, 1)
            shifted[:, 0] = self.config.bos_token_id
            decoder_input_ids = shifted
        logits = self.transformer.decode(source, attention_mask.bool(), decoder_input_ids)
        loss = None if labels is None else cross_entropy(logits.flatten(0, 1), labels.flatten())
        return Seq2SeqLMOutput(loss=loss, logits=logits, encoder_last_hidden_state=source)

    def generate(
        self,
        inputs: Tensor | None = None,
        generation_config: Any = None,
        logits_processor: LogitsProcessorList | None = None,
        attention_mask: Tensor | None = None,
        **kwargs: Any,
    ) -> Any:
        """Runs transformers' `generate` with the length limits of `reluformer translate`."""
        source = kwargs.pop("input_ids", inputs)
        if attention_mask is None:
            attention_mask = (source != self.config.pad_token_id).long()
        lengths = attention_mask.sum(1) - 1  # a source ends with EOS
        search = self.config.run["translation"]
        limits = (lengths * search["max_ratio"] + search["max_extra"]).long().clamp_min(1)
        processors = LogitsProcessorList([*(logits_processor or []), AllowedTokens(limits, lengths < 1, self.config)])
        if "max_length" not in kwargs:
            kwargs.setdefault("max_new_tokens", int(limits.max()) + 1)
        return super().generate(
            source, generation_config, logits_processor=processors, attention_mask=attention_mask, **kwargs
        )
