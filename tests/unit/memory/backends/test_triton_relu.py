"""Fused ReLU attention in Triton, interpreted: the tests are those of the CUDA device."""

import pytest

pytestmark = pytest.mark.slow


def test_equals_the_dense_read_in_double_and_visits_the_tiles_of_loops(interpret):
    passed = interpret("test_triton_relu_gpu.py", "test_triton_kernels_gpu.py")
    assert passed["test_triton_relu_gpu.py"] >= 40 and passed["test_triton_kernels_gpu.py"] >= 15
