from __future__ import annotations

import pytest
import torch


@pytest.mark.gpu
@pytest.mark.skipif(
    not torch.cuda.is_available(),
    reason="needs a CUDA device, as do the other tests of this folder, which are not collected",
)
def test_torch_computes_on_the_device():
    assert torch.ones(3, device="cuda").sum().item() == 3
