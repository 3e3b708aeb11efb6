"""Fused ReLU attention in Triton, interpreted: the tests are those of the CUDA device."""

import pytest

pytestmark = pytest.mark.slow


def test_equals_the_dense_read_in_double(interpret):
    assert interpret("test_triton_relu_gpu.py") >= 40


def test_tiles_against_loops(interpret):
    assert interpret("test_triton_kernels_gpu.py") >= 15
