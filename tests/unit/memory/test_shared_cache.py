from __future__ import annotations

import pytest
import torch

from reluformer.memory.shared_cache import SharedKVCache
from reluformer.ops import beam


@pytest.mark.parametrize("kernel", [True, False])
def test_each_row_reads_its_own_path(kernel, monkeypatch):
    if not kernel:
        monkeypatch.setattr(beam, "library", lambda source: None)
    torch.manual_seed(0)
    batch, heads, rows, slots, tokens, width = 2, 3, 4, 11, 5, 8
    keys, values = torch.randn(2, batch, heads, slots, width)
    path = torch.randint(slots, (batch, rows, tokens))
    query = torch.randn(batch, rows, heads, width).transpose(1, 2)
    scores = SharedKVCache(keys, path).scores(query)
    mixed = SharedKVCache(values, path).mix(scores)
    assert scores.shape == (batch, heads, rows, tokens) and mixed.shape == query.shape
    for b in range(batch):
        for h in range(heads):
            for w in range(rows):
                expected = keys[b, h, path[b, w]] @ query[b, h, w]
                torch.testing.assert_close(scores[b, h, w], expected)
                torch.testing.assert_close(mixed[b, h, w], expected @ values[b, h, path[b, w]])
