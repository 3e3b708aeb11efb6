import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from reluformer.config.model import ModelConfig
from reluformer.model.flops import decoding_flops, forward_flops, parameters
from reluformer.model.transformer import Transformer

SMALL = {"encoder_layers": 2, "decoder_layers": 1, "width": 16, "heads": 2, "slots": 24, "vocabulary": 50}


def test_parameters_are_those_of_the_model_for_every_system(paper):
    for run in paper.study_runs("measures")[::3] + paper.study_runs("gamma")[::3]:
        model = paper.resolve(run).model.model_copy(update=SMALL)
        for change in ({}, {"norm": "pre", "share_embeddings": "all"}, {"ffn_bias": True, "attention_bias": False}):
            config = ModelConfig.model_validate(model.model_copy(update=change).model_dump())
            built = sum(parameter.numel() for parameter in Transformer(config).parameters())
            assert parameters(config) == built, run.path


def test_flops_are_those_that_torch_counts(monkeypatch):
    monkeypatch.setenv("RELUFORMER_KERNEL", "reference")  # torch does not count what our kernels compute
    relu = {"activation": "relu"}
    places = dict.fromkeys(("encoder_attention", "decoder_attention", "cross_attention"), relu)
    config = ModelConfig.model_validate({**SMALL, **places})
    model = Transformer(config).eval()
    src, tgt = torch.ones(3, 10, dtype=torch.long), torch.ones(3, 7, dtype=torch.long)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.project(model(src, src.bool(), tgt, tgt.bool()))
    assert forward_flops(config, 30, 21, 10, 7) == pytest.approx(counter.get_total_flops(), rel=0.01)


def test_attention_grows_with_the_length_and_decoding_with_the_beam():
    config = ModelConfig.model_validate(SMALL)
    assert forward_flops(config, 100, 100, 50, 50) > forward_flops(config, 100, 100, 10, 10)
    greedy, five = (decoding_flops(config, 100, 100, 10, 10, beam) for beam in (1, 5))
    encoder = forward_flops(config, 100, 0, 10, 0)
    assert five - encoder == pytest.approx(5 * (greedy - encoder))
