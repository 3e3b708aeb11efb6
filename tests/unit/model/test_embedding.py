from __future__ import annotations

import math

import pytest
import torch

from reluformer.model.embedding import Embeddings, sinusoids


def test_sinusoids_of_known_positions():
    table = sinusoids(5, 6)
    assert table.shape == (5, 6)
    assert table[0].tolist() == [0, 0, 0, 1, 1, 1]
    steps = [1, 10_000**-0.5, 1 / 10_000]
    for i, step in enumerate(steps):
        assert table[3, i].item() == pytest.approx(math.sin(3 * step), abs=1e-6)
        assert table[3, 3 + i].item() == pytest.approx(math.cos(3 * step), abs=1e-6)
    assert sinusoids(2, 7)[:, -1].tolist() == [0, 0]


@pytest.mark.parametrize(("share", "matrices"), [("none", 3), ("decoder", 2), ("all", 1)])
def test_shared_matrices_exist_once(share, matrices):
    embeddings = Embeddings(20, 8, share)
    assert len(list(embeddings.parameters())) == len(embeddings.state_dict()) == matrices
    assert (embeddings.output_weight is embeddings.target) == (share != "none")


def test_vectors_are_scaled_and_get_positions():
    embeddings = Embeddings(20, 8, "none")
    tokens = torch.tensor([[5, 6, 0]])
    expected = embeddings.source[tokens] * math.sqrt(8) + sinusoids(3, 8)
    torch.testing.assert_close(embeddings.embed_source(tokens), expected)
    torch.testing.assert_close(
        embeddings.embed_target(tokens, first=4), embeddings.target[tokens] * math.sqrt(8) + sinusoids(7, 8)[4:]
    )
    places = embeddings.positions(7)[4:]
    assert torch.equal(embeddings.embed_target(tokens, places), embeddings.embed_target(tokens, first=4))


def test_the_initialisation_is_that_of_fairseq():
    embeddings = Embeddings(4000, 64, "all")
    assert embeddings.target[1:].std().item() == pytest.approx(1 / 8, rel=0.02)
    assert not embeddings.target[0].any()


def test_padding_learns_nothing_as_an_input():
    embeddings = Embeddings(20, 8, "none")
    embeddings.embed_source(torch.tensor([[5, 0]])).sum().backward()
    assert not embeddings.source.grad[0].any() and embeddings.source.grad[5].any()


def test_positions_follow_the_dtype_and_keep_their_precision():
    embeddings = Embeddings(20, 8, "none").bfloat16()
    assert embeddings.embed_source(torch.tensor([[5]])).dtype == torch.bfloat16
    embeddings.float()
    torch.testing.assert_close(
        embeddings.embed_source(torch.tensor([[0] * 30]))[0], sinusoids(30, 8), atol=1e-6, rtol=1e-6
    )


def test_reserved_positions_are_made_once():
    embeddings = Embeddings(20, 8, "none").bfloat16()
    embeddings.positions(300)
    table = embeddings._positions
    assert table.shape == (300, 8) and table.dtype == torch.bfloat16
    for length in (1, 40, 300):
        embeddings.embed_target(torch.ones(1, length, dtype=torch.int64))
    assert embeddings._positions is table
