from __future__ import annotations

import numpy as np
import pytest
import torch
from rich.cells import cell_len

from reluformer.analysis.maps import ascii_map, choose_map, choose_segment, maps_of
from reluformer.analysis.sweep import on_device
from reluformer.config.settings import SettingsError
from reluformer.corpus.batches import collate


def pieces(ids):
    return [f"▁{i}" for i in ids]


def maps(model, store, tokens=512):
    """Returns the maps of the store's fourth pair."""
    return maps_of(model, on_device(collate(store, [3]), torch.device("cpu")), pieces, tokens)


def test_the_chosen_sentence_has_the_median_length(make_store):
    # Longer sides: 9 2 5 3 5
    store = make_store((9, 2, 5, 1, 4), (3, 2, 1, 3, 5))
    assert choose_segment(store, documents=False, tokens=512) == 2


def test_the_chosen_segment_of_documents_is_the_longest_that_fits(make_store):
    store = make_store((9, 2, 5, 1, 4), (3, 2, 1, 3, 5))
    assert choose_segment(store, documents=True, tokens=9) == 2  # with EOS: 10 3 6 4 6
    assert choose_segment(store, documents=True, tokens=10) == 0
    assert choose_segment(store, documents=True, tokens=2) == 1


def test_maps_are_the_weights_of_every_attention(make_store, make_model):
    model, store = make_model(), make_store()
    arrays = maps(model, store)
    assert set(arrays) == {"src_tokens", "tgt_tokens", "encoder.0", "encoder.1", "decoder.0", "cross.0"}
    assert arrays["encoder.1"].shape == (2, 13, 13)  # 12 tokens and EOS
    assert arrays["decoder.0"].shape == (2, 11, 11)  # BOS and 10 tokens
    assert arrays["cross.0"].shape == (2, 11, 13)
    assert arrays["cross.0"].dtype == np.float16
    assert (np.triu(arrays["decoder.0"][0], 1) == 0).all()
    assert arrays["encoder.0"].any()
    assert arrays["src_tokens"].tolist() == pieces([*store.src(3), 3])
    assert arrays["tgt_tokens"].tolist() == pieces([2, *store.tgt(3)])


def test_axes_are_cut(make_store, make_model):
    whole = maps(make_model(), make_store())
    cut = maps(make_model(), make_store(), 5)
    assert cut["cross.0"].shape == (2, 5, 5)
    assert len(cut["src_tokens"]) == len(cut["tgt_tokens"]) == 5
    assert (cut["encoder.0"] == whole["encoder.0"][:, :5, :5]).all()


def test_weights_over_the_range_of_float16_stay_finite(make_store, make_model):
    model = make_model(encoder_attention={"activation": "relu"})
    with torch.no_grad():
        model.encoder[0].attention.memory.query_key_value.weight *= 1e4
    arrays = maps(model, make_store())
    assert arrays["encoder.0"].max() == np.float16(65504)


def test_one_map_is_chosen_by_layer_and_head(make_store, make_model):
    arrays = maps(make_model(), make_store())
    last = choose_map(arrays, "encoder", None, None)
    assert last.title == "encoder self-attention, layer 2, mean over heads"
    assert last.weights == pytest.approx(arrays["encoder.1"].astype(np.float32).mean(0))
    first = choose_map(arrays, "cross", 1, 2)
    assert (first.weights == arrays["cross.0"][1]).all()
    assert (first.queries, first.keys) == (arrays["tgt_tokens"].tolist(), arrays["src_tokens"].tolist())
    for layer, head, message in ((3, None, "layer: 3: the model has 2"), (0, 1, "layer: 0"), (1, 3, "head: 3")):
        with pytest.raises(SettingsError, match=message):
            choose_map(arrays, "encoder", layer, head)


def test_cells_are_the_darker_the_larger_their_weight():
    weights = np.array([[0.0, 0.25, 0.5], [0.75, 1.0, 0.01]])
    assert ascii_map(weights, ["▁ab", "c"], ["x", "yz", "w"], 80).splitlines() == [
        "      y",
        "    x z w",
        "▁ab   ░░▒▒",
        "  c ▓▓██░░",
    ]


def test_wide_maps_wrap_and_long_labels_are_cut():
    weights = np.ones((2, 30))
    text = ascii_map(weights, ["a" * 40, "中文"], [f"k{i}" for i in range(30)], 40)
    assert max(map(cell_len, text.splitlines())) <= 40
    blocks = text.split("\n\n")
    assert len(blocks) == 3 and sum(block.splitlines()[-1].count("█") for block in blocks) == 2 * 30


def test_a_map_without_any_weight_is_blank():
    assert ascii_map(np.zeros((1, 2)), ["a"], ["x", "y"], 80).splitlines() == ["  x y", "a"]
