"""The Triton kernels compile for Ampere and Hopper cards, on any machine, to what those are fast at."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

triton = pytest.importorskip("triton", reason="needs triton")

from triton.backends import nvidia  # noqa: E402
from triton.backends.compiler import GPUTarget  # noqa: E402
from triton.compiler import ASTSource  # noqa: E402

from reluformer.memory.backends import triton_passes, triton_tune  # noqa: E402

KERNELS = {"forward": False, "query": False, "slot": True}
FLOATS = {"scale": "fp32", "dropout": "fp32"} | dict.fromkeys(("total", "logs", "grad_total", "grad_logs"), "*fp32")
TENSORS = {"query", "key", "value", "output", "grad", "query_grad", "key_grad", "value_grad"}


def compiled(name, capability, form, monkeypatch, tmp_path, width=64):
    """The kernel as compiled for bf16 with everything switched on but dropout."""
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    kernel = getattr(triton_passes, f"{name}_kernel")
    names = kernel.arg_names
    constants = {"KEYS": True, "CAUSAL": True, "DROPOUT": False, "STATISTICS": True, "PRECISION": "tf32"}
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
    """Bytes of registers that do not fit, as ptxas counts them."""
    (tmp_path / "kernel.ptx").write_text(binary.asm["ptx"])
    ptxas = Path(nvidia.__file__).parent / "bin" / "ptxas"
    architecture = f"--gpu-name=sm_{capability}" + ("a" if capability >= 90 else "")
    told = subprocess.run(
        [ptxas, "-v", architecture, tmp_path / "kernel.ptx", "-o", tmp_path / "kernel.cubin"],
        capture_output=True,
        text=True,
        check=True,
    ).stderr
    return int(re.search(r"(\d+) bytes spill stores", told)[1])


@pytest.mark.slow
@pytest.mark.parametrize(("capability", "multiply"), [(80, "mma.sync"), (90, "wgmma.mma_async")])
@pytest.mark.parametrize("name", KERNELS)
def test_compiles_to_tensor_cores_without_spilling(name, capability, multiply, monkeypatch, tmp_path):
    form = next(f for f in triton_tune.forms(64, 3, 2, KERNELS[name]) if not f.skip and f.rows + f.slots < 200)
    binary = compiled(name, capability, form, monkeypatch, tmp_path)
    assert multiply in binary.asm["ptx"]
    if (name, capability) != ("slot", 80):  # there Triton prefetches no tile that is used both ways round
        assert "cp.async" in binary.asm["ptx"]
    assert binary.metadata.shared <= 163 * 1024
    assert spilled(binary, capability, tmp_path) <= 512


@pytest.mark.slow
def test_a_form_that_skips_has_a_branch_around_the_values(monkeypatch, tmp_path):
    form = next(f for f in triton_tune.forms(64, 3, 2) if f.skip)
    assert "scf.if" in compiled("forward", 90, form, monkeypatch, tmp_path).asm["ttgir"]
    flat = form._replace(skip=False)
    assert "scf.if" not in compiled("forward", 90, flat, monkeypatch, tmp_path).asm["ttgir"]
