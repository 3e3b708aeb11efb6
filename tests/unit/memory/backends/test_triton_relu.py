"""Runs the CUDA tests of the fused ReLU attention in Triton's interpreter."""

import pytest

pytestmark = pytest.mark.slow


def test_the_gpu_tests_pass_in_the_interpreter(interpret):
    passed = interpret("test_triton_relu_gpu.py", "test_triton_kernels_gpu.py")
    assert passed["test_triton_relu_gpu.py"] >= 40 and passed["test_triton_kernels_gpu.py"] >= 15
