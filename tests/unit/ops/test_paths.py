"""Faults injected into fast paths are detected and logged once, and the next path takes over."""

from __future__ import annotations

import json
import logging
import shutil
import stat
from types import SimpleNamespace

import pytest
import torch

from reluformer.config.settings import SettingsError
from reluformer.memory.backends import AttentionOptions, dispatch
from reluformer.memory.backends.cpu import SOURCE
from reluformer.memory.backends.tiled import tiled_relu_attention
from reluformer.ops import beam, cross_entropy, dropout, paths
from reluformer.training.engine import prove_compiled
from reluformer.translation import decode, graphs

needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
QUERY = torch.randn(2, 2, 5, 16, generator=torch.Generator().manual_seed(1))


@pytest.fixture(autouse=True)
def unproved(monkeypatch):
    """A process that has used no path yet."""
    monkeypatch.delenv("RELUFORMER_KERNEL", raising=False)
    monkeypatch.setattr(paths, "_verdicts", {})


@pytest.fixture
def new_machine(tmp_path, monkeypatch, warm_python):
    """A machine on which nothing has been compiled or proved yet."""
    monkeypatch.setattr(paths.sys, "executable", warm_python)
    monkeypatch.setenv("RELUFORMER_CACHE", str(tmp_path / "cache"))
    paths.library.cache_clear()
    yield
    paths.library.cache_clear()


@pytest.fixture
def miscompile(tmp_path, monkeypatch):
    """Sets $CXX to a compiler that first replaces a piece of the source."""

    def put(piece, replacement):
        script = tmp_path / "miscompiler"
        script.write_text(
            "#!/usr/bin/env python3\n"
            "import subprocess, sys\n"
            "arguments = sys.argv[1:]\n"
            "i = next(i for i, a in enumerate(arguments) if a.endswith('.cpp'))\n"
            "text = open(arguments[i]).read()\n"
            f"assert {piece!r} in text\n"
            f"open({str(tmp_path / SOURCE.name)!r}, 'w').write(text.replace({piece!r}, {replacement!r}))\n"
            f"arguments[i] = {str(tmp_path / SOURCE.name)!r}\n"
            f"sys.exit(subprocess.call(['g++', '-O0', {'-I' + str(SOURCE.parent)!r}, *arguments, '-O0']))\n"
        )
        script.chmod(script.stat().st_mode | stat.S_IEXEC)
        monkeypatch.setenv("CXX", str(script))

    return put


@needs_compiler
@pytest.mark.slow
@pytest.mark.parametrize(
    ("piece", "replacement", "reason"),
    [
        ("p.depth, 1.0f, p.output", "p.depth, 1.01f, p.output", "the output in torch.float32 is wrong by 1.0e-02"),
        ("const bool back = v[0];", "const bool back = v[0]; if (back) __builtin_trap();", "killed by SIG"),
    ],
    ids=["wrong by a hundredth", "an illegal instruction"],
)
def test_a_kernel_that_is_compiled_wrongly_is_never_used(new_machine, miscompile, piece, replacement, reason, caplog):
    miscompile(piece, replacement)
    with caplog.at_level(logging.WARNING):
        assert dispatch.backend(QUERY) == dispatch.backend(QUERY) == "tiled"
    (warning,) = (record.getMessage() for record in caplog.records)
    assert warning.startswith("ReLU attention in C++ is not trusted here: ") and reason in warning
    assert "tiles in plain torch takes over" in warning and "reluformer doctor" in warning
    assert reason in paths.verdicts()["cpu"] and paths.verdicts()["tiled"] == "trusted"


def test_a_path_is_proved_once_per_device_and_again_on_request(new_machine, monkeypatch, tmp_path):
    proofs = []

    def run(command, **_):
        proofs.append(command[-2:])
        return SimpleNamespace(returncode=1, stderr="ArithmeticError: the output is wrong\n")

    monkeypatch.setattr(paths.subprocess, "run", run)
    for _ in range(2):
        assert not paths.trusted("tiled", "cpu")
        paths._verdicts.clear()  # as in another process
    assert proofs == [["tiled", "cpu"]]
    monkeypatch.setattr(paths.subprocess, "run", lambda *_, **__: SimpleNamespace(returncode=0, stderr=""))
    assert not paths.trusted("tiled", "cpu")
    assert paths.prove("tiled", "cpu") is None
    paths._verdicts.clear()
    assert paths.trusted("tiled", "cpu")
    (file,) = (tmp_path / "cache" / "proofs").glob("tiled-*.json")
    file.unlink()
    file.parent.rename(tmp_path / "elsewhere")
    file.parent.write_text("a file where the folder should be")
    paths._verdicts.clear()
    assert paths.trusted("tiled", "cpu")


def test_a_proof_that_hangs(new_machine, monkeypatch):
    monkeypatch.setattr(paths, "SECONDS", 0.01)
    assert paths.prove("tiled", "cpu") == "no result within 0.01 s"


def test_a_gpu_exclusive_to_this_process_is_proved_in_it(new_machine, monkeypatch):
    busy = SimpleNamespace(returncode=1, stderr="RuntimeError: CUDA-capable device(s) is/are busy or unavailable\n")
    monkeypatch.setattr(paths.subprocess, "run", lambda *_, **__: busy)
    proved = []
    monkeypatch.setitem(paths.PATHS, "tiled", paths.PATHS["tiled"]._replace(proof=f"{__name__}:a_proof"))
    monkeypatch.setattr(f"{__name__}.a_proof", proved.append)
    assert paths.prove("tiled", "cpu") is None and proved == ["cpu"]


def a_proof(device):
    raise NotImplementedError


def test_every_proof_passes_where_its_path_works():
    for path in ("tiled", *(["cpu", "cross_entropy", "dropout", "beam", "int8"] if shutil.which("g++") else [])):
        assert paths._prove_here(path, "cpu") is None, path
    graphs.prove("cpu")


@pytest.mark.parametrize("module", [cross_entropy, dropout, beam])
def test_every_proof_notices_a_wrong_result(module, monkeypatch):
    for name in ("_run", "cross_entropy", "best_tokens"):
        if hasattr(module, name):
            right = getattr(module, name)
            monkeypatch.setattr(module, name, lambda *a, right=right: _more(right(*a)))
    with pytest.raises(ArithmeticError, match="is wrong by"):
        module.prove("cpu")


def _more(result):
    return (
        tuple(x * 1.01 if x.is_floating_point() else x for x in result) if isinstance(result, tuple) else result * 1.01
    )


class OnCard(SimpleNamespace):
    """A query on a GPU as far as the dispatcher can tell."""

    def __init__(self):
        super().__init__(device=torch.device("cuda"), dtype=torch.bfloat16, size=lambda _: 64)


@pytest.mark.parametrize(
    ("failing", "backend"), [((), "triton"), (("triton",), "tiled"), (("triton", "tiled"), "reference")]
)
def test_the_next_path_takes_over(failing, backend, monkeypatch):
    monkeypatch.setattr(dispatch, "TRITON", True)
    monkeypatch.setattr(paths, "_cached_verdict", lambda path, _: "it failed" if path in failing else None)
    assert dispatch.backend(OnCard()) == backend
    monkeypatch.setenv("RELUFORMER_KERNEL", "triton")  # explicit, so not proved
    assert dispatch.backend(OnCard()) == "triton"


@pytest.mark.parametrize("fails", ["launch", "memory", "shapes"])
def test_a_kernel_that_fails_in_use_is_replaced_for_good(fails, monkeypatch, caplog):
    error = {
        "launch": RuntimeError("Triton Error [CUDA]: invalid argument\nmore"),
        "memory": torch.OutOfMemoryError("CUDA out of memory"),
        "shapes": ValueError("no ReLU attention of these"),
    }[fails]

    def raises(*_):
        raise error

    relu = pytest.importorskip("reluformer.memory.backends.triton_relu")
    monkeypatch.setattr(relu, "triton_relu_attention", raises)
    options = AttentionOptions(scale=0.25)
    if fails != "launch":
        with pytest.raises(type(error)):
            dispatch._triton(QUERY, QUERY, QUERY, options)
        assert paths.verdicts() == {}
        return
    for _ in range(2):
        output = dispatch._triton(QUERY, QUERY, QUERY, options).output
        torch.testing.assert_close(output, tiled_relu_attention(QUERY, QUERY, QUERY, options).output)
    (warning,) = (record.getMessage() for record in caplog.records)
    expected = "RuntimeError: Triton Error [CUDA]: invalid argument"
    assert warning == f"ReLU attention in Triton failed: {expected}; tiles in plain torch takes over"
    assert paths.verdicts() == {"triton": expected}
    monkeypatch.setattr(dispatch, "TRITON", True)
    monkeypatch.setattr(paths, "_cached_verdict", lambda *_: None)
    assert dispatch.backend(OnCard()) == "tiled"


def test_after_a_failed_capture_the_search_runs_without_graphs(monkeypatch, caplog):
    monkeypatch.setattr(paths, "_cached_verdict", lambda *_: None)
    calls = []

    def by_graphs(src, mask):
        calls.append("graphs")
        raise RuntimeError("operation not permitted when stream is capturing")

    for _ in range(2):
        assert decode.first_trusted(by_graphs, lambda src, mask: ["plain"], QUERY, QUERY) == ["plain"]
    assert calls == ["graphs"] and len(caplog.records) == 1
    assert "a search without graphs takes over" in caplog.text


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), graphs.BrokenModelError()])
def test_out_of_memory_or_a_broken_model_does_not_disable_graphs(error, monkeypatch):
    monkeypatch.setattr(paths, "_cached_verdict", lambda *_: None)

    def by_graphs(src, mask):
        raise error

    with pytest.raises((torch.OutOfMemoryError, SettingsError)):
        decode.first_trusted(by_graphs, by_graphs, QUERY, QUERY)
    assert paths.trusted("graphs", "cuda")


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["raises", "wrong", "right"])
def test_a_compiler_that_fails_or_computes_something_else(fault, monkeypatch, caplog):
    def faulty(module, inputs):
        if fault == "raises":
            raise RuntimeError("no code for this operator")
        more = 1.01 if fault == "wrong" else 1.0
        return lambda *given: tuple(x * more if x.is_floating_point() else x for x in module(*given))

    monkeypatch.setenv("RELUFORMER_KERNEL", "reference")
    torch._dynamo.reset()
    if fault == "wrong":
        with pytest.raises(ArithmeticError, match=r"the loss is wrong by"):
            prove_compiled("cpu", backend=faulty)
        return
    prove_compiled("cpu", backend=faulty)  # eager took over, with correct results
    assert ("compile" in paths.verdicts()) and (paths.verdicts()["compile"] == "trusted") == (fault == "right")
    assert ("training without compilation takes over" in caplog.text) == (fault == "raises")


def test_every_path_on_every_device_gets_a_line_of_json(monkeypatch, capsys):
    monkeypatch.setattr(paths, "prove", lambda path, device: "it failed" if path == "beam" else None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert paths.main([]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {(line["path"], line["device"]) for line in lines} >= {("cpu", "cpu"), ("tiled", "cuda"), ("graphs", "cuda")}
    assert {line["reason"] for line in lines} == {None, "it failed"}
