"""The Triton kernels compile for Ampere and Hopper GPUs on any machine, and their launch forms fit both."""

from __future__ import annotations

import itertools
import re
import subprocess
from pathlib import Path

import pytest

triton = pytest.importorskip("triton", reason="needs triton")

import torch  # noqa: E402
from triton.backends import nvidia  # noqa: E402
from triton.backends.compiler import GPUTarget  # noqa: E402
from triton.compiler import ASTSource  # noqa: E402

from reluformer.memory.backends import triton_kernels, triton_relu  # noqa: E402

CASES = list(itertools.product((16, 32, 64, 128), range(5), (2, 4)))
KERNELS = {"forward": False, "query": False, "slot": True}
FLOATS = {"scale": "fp32", "dropout": "fp32"} | dict.fromkeys(
    ("shift", "total", "logs", "grad_total", "grad_logs"), "*fp32"
)
TENSORS = {"query", "key", "value", "output", "grad", "query_grad", "key_grad", "value_grad"}


def compiled(name, capability, form, monkeypatch, tmp_path, width=64, function="relu"):
    """Compiles a kernel for bf16 without dropout and with every other option: ReLU statistics, or else a shift."""
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    kernel = getattr(triton_kernels, f"{name}_kernel")
    names = kernel.arg_names
    relu = function == "relu"
    constants = {"KEYS": True, "CAUSAL": True, "DROPOUT": False, "STATISTICS": relu, "PRECISION": "tf32"}
    constants |= {"FUNCTION": function, "SHIFT": not relu}
    constants |= {"D": width, "W": width, **form.config().kwargs, "keys_k": 1}
    constants |= {n: 1 for n in names if n.endswith("_d")}
    signature = {n: FLOATS.get(n, "*bf16" if n in TENSORS else "*u8" if n == "keys" else "i32") for n in names}
    signature |= dict.fromkeys(constants, "constexpr")
    aligned = {n for n in names if n not in constants and (signature[n][0] == "*" or re.search("_[bhqk]$", n))}
    source = ASTSource(
        kernel,
        signature,
        {(names.index(n),): value for n, value in constants.items()},
        {(names.index(n),): [["tt.divisibility", 16]] for n in aligned},
    )
    options = {"num_warps": form.warps, "num_stages": form.stages}
    return triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)


def spilled(binary, capability, tmp_path):
    """Returns the bytes of spilled registers that ptxas reports."""
    (tmp_path / "kernel.ptx").write_text(binary.asm["ptx"])
    ptxas = Path(nvidia.__file__).parent / "bin" / "ptxas"
    architecture = f"--gpu-name=sm_{capability}" + ("a" if capability >= 90 else "")
    report = subprocess.run(
        [ptxas, "-v", architecture, tmp_path / "kernel.ptx", "-o", tmp_path / "kernel.cubin"],
        capture_output=True,
        text=True,
        check=True,
    ).stderr
    return int(re.search(r"(\d+) bytes spill stores", report)[1])


@pytest.mark.slow
@pytest.mark.parametrize(("capability", "multiply"), [(80, "mma.sync"), (90, "wgmma.mma_async")])
@pytest.mark.parametrize("name", KERNELS)
def test_compiles_to_tensor_cores_without_spilling(name, capability, multiply, monkeypatch, tmp_path):
    form = next(f for f in triton_relu.forms(64, 3, 2, KERNELS[name]) if not f.skip and f.rows + f.slots < 200)
    binary = compiled(name, capability, form, monkeypatch, tmp_path)
    assert multiply in binary.asm["ptx"]
    if (name, capability) != ("slot", 80):  # there Triton does not prefetch tiles that are also used transposed
        assert "cp.async" in binary.asm["ptx"]
    assert binary.metadata.shared <= 163 * 1024
    assert spilled(binary, capability, tmp_path) <= 512


@pytest.mark.slow
@pytest.mark.parametrize(("name", "function"), [("forward", "sigmoid"), ("query", "relu-squared"), ("slot", "sigmoid")])
def test_other_functions_compile_without_spilling(name, function, monkeypatch, tmp_path):
    form = next(f for f in triton_relu.forms(64, 3, 2, KERNELS[name]) if not f.skip and f.rows + f.slots < 200)
    binary = compiled(name, 90, form, monkeypatch, tmp_path, function=function)
    assert "wgmma.mma_async" in binary.asm["ptx"] and spilled(binary, 90, tmp_path) <= 512


@pytest.mark.slow
def test_a_form_that_skips_has_a_branch_around_the_values(monkeypatch, tmp_path):
    form = next(f for f in triton_relu.forms(64, 3, 2) if f.skip)
    assert "scf.if" in compiled("forward", 90, form, monkeypatch, tmp_path).asm["ttgir"]
    flat = form._replace(skip=False)
    assert "scf.if" not in compiled("forward", 90, flat, monkeypatch, tmp_path).asm["ttgir"]


def test_buckets():
    lengths = [(1, 1), (32, 5), (5, 33), (128, 128), (129, 1), (512, 600), (2048, 2048), (1, 2049)]
    assert [triton_relu.bucket(*pair) for pair in lengths] == [0, 0, 1, 1, 2, 3, 3, 4]


@pytest.mark.parametrize(("width", "length", "bytes_each"), CASES)
def test_forms_fit_the_gpus(width, length, bytes_each):
    """Powers of two of at least 16, with all tiles in flight within the 163 KiB of shared memory of both GPUs."""
    for turned in (False, True):
        for form in triton_relu.forms(width, length, bytes_each, turned):
            for side in (form.rows, form.slots):
                assert side >= 16 and side & (side - 1) == 0
            fixed, passing = (form.slots, form.rows) if turned else (form.rows, form.slots)
            assert (2 * fixed + 2 * form.stages * passing) * width * bytes_each <= 163 * 1024


def test_empty_tiles_are_skipped_where_there_are_many():
    assert {form.skip for form in triton_relu.forms(64, 3, 2)} == {True, False}
    assert {form.skip for form in triton_relu.forms(64, 0, 2)} == {False}


@pytest.mark.parametrize("turned", [False, True])
def test_autotuning_measures_only_the_forms_that_fit(turned):
    tuner = triton_relu.tuned(triton_kernels.slot_kernel if turned else triton_kernels.forward_kernel, turned)
    for width, length, bytes_each in CASES:
        query = torch.empty(0, dtype=torch.bfloat16 if bytes_each == 2 else torch.float32)
        tuner.nargs = {"query": query, "length": length}
        chosen = tuner.prune_configs({"W": width})
        expected = [form.config() for form in triton_relu.forms(width, length, bytes_each, turned)]
        assert len(chosen) == len(expected) <= 8 and all(config in chosen for config in expected)


def test_the_autotuning_keys_are_kernel_arguments():
    for kernel in (triton_kernels.forward_kernel, triton_kernels.query_kernel, triton_kernels.slot_kernel):
        assert set(triton_relu.KINDS) <= set(kernel.arg_names)
        assert {"BM", "BN", "SKIP"} <= set(kernel.arg_names)
