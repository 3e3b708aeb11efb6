"""A training update never synchronises with the GPU; tests/unit/model/test_no_waiting.py checks it without a GPU."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml

from reluformer.config.model import ModelConfig
from reluformer.config.systems import SystemConfig
from reluformer.corpus.batches import BatchSampler
from reluformer.corpus.store import Sequences, Store, StoreWriter
from reluformer.model.objective import Objective
from reluformer.model.transformer import Transformer
from reluformer.training.data import PrefetchLoader

pytestmark = pytest.mark.gpu

SYSTEMS = yaml.safe_load((Path(__file__).parents[2] / "config" / "systems.yaml").read_text(encoding="utf-8"))
SHAPE = {"encoder_layers": 2, "decoder_layers": 2, "width": 64, "heads": 2, "slots": 64, "vocabulary": 50}


@pytest.fixture
def feed(tmp_path):
    with StoreWriter(tmp_path, 50, documents=False) as writer:
        sequences = Sequences.of([list(range(5, 8 + n % 20)) for n in range(200)])
        writer.add(sequences, sequences)
    store = Store(tmp_path)
    sampler = BatchSampler(store.src_lengths, store.tgt_lengths, batch_tokens=300, seed=1)
    feed = PrefetchLoader(sampler, store, torch.device("cuda", torch.cuda.current_device()))
    yield feed
    feed.close()


@pytest.mark.parametrize("precision", [None, torch.bfloat16])
@pytest.mark.parametrize("name", SYSTEMS)
def test_an_update_never_synchronises(name, precision, feed):
    dropouts = {"dropout": 0.1, "attention_dropout": 0.1}
    model = Transformer(ModelConfig(**SHAPE, **dropouts, **SystemConfig(**SYSTEMS[name]).memories())).cuda().train()
    model.embeddings.positions(40)
    objective = Objective(model, 0.1)
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)

    def update():
        (batch,) = next(feed).micro
        with torch.autocast("cuda", precision, enabled=precision is not None):
            losses = objective(*batch)
        (losses.loss_sum + losses.penalty * losses.tokens).backward()
        optimizer.step()
        optimizer.zero_grad()

    for _ in range(5):  # warm-up: one-time allocations and kernel autotuning
        update()
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(5):
            update()
    finally:
        torch.cuda.set_sync_debug_mode(before)
    torch.cuda.synchronize()
