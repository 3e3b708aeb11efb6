"""Which tiles a Triton kernel visits, interpreted: the tests are those of the CUDA device."""

import pytest

pytestmark = pytest.mark.slow


def test_tiles_against_loops(interpret):
    assert interpret("test_triton_tiles_gpu.py") >= 15
