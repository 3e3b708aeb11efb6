"""Hand-made rows, and a small prepared corpus with a run on it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from reluformer.analysis.rows import Rows
from reluformer.config.model import ModelConfig
from reluformer.config.run import RunConfig
from reluformer.config.training import TrainingConfig
from reluformer.config.translation import TranslationConfig
from reluformer.corpus.store import Sequences, Store, StoreWriter
from reluformer.corpus.subword import train
from reluformer.model.files import save_model
from reluformer.model.transformer import Transformer

SRC_LENGTHS = (7, 3, 5, 12, 1, 9, 4)
TGT_LENGTHS = (4, 6, 2, 10, 3, 9, 1)


def rows_from(weights, counts=None, **changes):
    """Returns rows of weights [N, H, K] (or [N, K] for one head) with placeholder output, residual and values."""
    weights = torch.as_tensor(weights, dtype=torch.float32)
    weights = weights[:, None] if weights.dim() == 2 else weights
    counts = torch.full((len(weights),), weights.size(-1)) if counts is None else torch.as_tensor(counts)
    blank = torch.zeros(len(weights), 2)
    return Rows(
        **{"weights": weights, "counts": counts, "output": blank, "residual": blank, "values": blank, **changes}
    )


def write_store(folder, src_lengths=SRC_LENGTHS, tgt_lengths=TGT_LENGTHS, vocabulary=40):
    """Writes a store of random sequences of these lengths (without EOS)."""
    random = np.random.default_rng(5)

    def sequences(lengths):
        return Sequences.of([random.integers(5, vocabulary, length).tolist() for length in lengths])

    with StoreWriter(folder, vocabulary, False) as writer:
        writer.add(sequences(src_lengths), sequences(tgt_lengths))
    return Store(folder)


def small_model(vocabulary=40, **changes):
    """Returns a model with ReLU FFNs and scaled-ReLU attention, in evaluation mode."""
    attention = {"activation": "relu-scaled", "penalty": {}}
    memories = {f"{kind}_attention": attention for kind in ("encoder", "decoder", "cross")}
    shape = {"encoder_layers": 2, "decoder_layers": 1, "width": 16, "heads": 2, "slots": 24, "vocabulary": vocabulary}
    torch.manual_seed(2)
    return Transformer(ModelConfig.model_validate({**shape, **memories, **changes})).eval()


@pytest.fixture
def make_rows():
    """`make_rows(weights, counts, **fields)`."""
    return rows_from


@pytest.fixture
def make_store(tmp_path):
    """`make_store(src_lengths, tgt_lengths)`."""
    return lambda *lengths: write_store(tmp_path / "store", *lengths)


@pytest.fixture
def make_model():
    """`make_model(**changes)`."""
    return small_model


@pytest.fixture
def run(tmp_path):
    """A finished run on a prepared corpus: (run folder, corpora folder)."""
    words = dict.fromkeys(("der", "hund", "the", "dog", "bellt", "barks", ",", "."), 5)
    corpus = tmp_path / "corpora" / "toy"
    corpus.mkdir(parents=True)
    vocabulary = train(words, 40, corpus / "subword.model")
    write_store(corpus / "store" / "test", vocabulary=vocabulary)
    folder: Path = tmp_path / "run"
    folder.mkdir()
    model = small_model(vocabulary)
    save_model(model, folder / "model.safetensors")
    config = RunConfig(
        dataset="toy",
        system="reluformer",
        seed=1,
        src="de",
        tgt="en",
        model=model.config,
        training=TrainingConfig(),
        translation=TranslationConfig(),
    )
    config.save(folder / "config.yaml")
    (folder / "summary.json").write_text(json.dumps({"status": "finished"}))
    return folder, tmp_path / "corpora"
