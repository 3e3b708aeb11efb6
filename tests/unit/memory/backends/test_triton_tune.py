"""The forms that Triton's kernels choose from."""

import itertools

import pytest

triton = pytest.importorskip("triton", reason="needs triton")

import torch  # noqa: E402

from reluformer.memory.backends import triton_passes, triton_tune  # noqa: E402

CASES = list(itertools.product((16, 32, 64, 128), range(5), (2, 4)))


def test_buckets():
    lengths = [(1, 1), (32, 5), (5, 33), (128, 128), (129, 1), (512, 600), (2048, 2048), (1, 2049)]
    assert [triton_tune.bucket(*pair) for pair in lengths] == [0, 0, 1, 1, 2, 3, 3, 4]


@pytest.mark.parametrize(("width", "length", "bytes_each"), CASES)
def test_forms_fit_the_cards(width, length, bytes_each):
    """Powers of two of at least 16, and all tiles in flight within the 163 KiB that both kinds of card have."""
    for turned in (False, True):
        for form in triton_tune.forms(width, length, bytes_each, turned):
            for side in (form.rows, form.slots):
                assert side >= 16 and side & (side - 1) == 0
            fixed, passing = (form.slots, form.rows) if turned else (form.rows, form.slots)
            assert (2 * fixed + 2 * form.stages * passing) * width * bytes_each <= 163 * 1024


def test_empty_tiles_are_skipped_where_there_are_many():
    assert {form.skip for form in triton_tune.forms(64, 3, 2)} == {True, False}
    assert {form.skip for form in triton_tune.forms(64, 0, 2)} == {False}


@pytest.mark.parametrize("turned", [False, True])
def test_a_card_measures_what_fits_and_nothing_else(turned):
    tuner = triton_tune.tuned(triton_passes.slot_kernel if turned else triton_passes.forward_kernel, turned)
    for width, length, bytes_each in CASES:
        query = torch.empty(0, dtype=torch.bfloat16 if bytes_each == 2 else torch.float32)
        tuner.nargs = {"query": query, "length": length}
        chosen = tuner.prune_configs({"W": width})
        expected = [form.config() for form in triton_tune.forms(width, length, bytes_each, turned)]
        assert len(chosen) == len(expected) <= 8 and all(config in chosen for config in expected)


def test_what_a_choice_depends_on_is_known_to_the_kernels():
    for kernel in (triton_passes.forward_kernel, triton_passes.query_kernel, triton_passes.slot_kernel):
        assert set(triton_tune.KINDS) <= set(kernel.arg_names)
        assert {"BM", "BN", "SKIP"} <= set(kernel.arg_names)
