"""Bad command lines and inputs: a one-line error or the right answer, the right exit code, no partial files."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

LONG = b"yksi kaksi kolme . " * 2500
BINARY = bytes(range(256)) * 20
RUN = "{runs}/seed1"
TEXT = b"Yksi kaksi .\n"

# (label, arguments, standard input, exit code, text in standard error; "" means empty)
CASES = [
    ("no command of that name", "trasnlate", b"", 2, "No such command 'trasnlate'. Did you mean 'translate'"),
    ("an option of no command", "--colour", b"", 2, "No such option: --colour"),
    ("an empty folder", ["schemas", ""], b"", 2, r"argument 2 \(after schemas\) is empty; is a shell"),
    ("an empty file", ["overview", "--results", ""], b"", 2, r"argument 3 \(after --results\) is empty"),
    ("an option without its value", "overview --results=", b"", 2, r"argument 2 \(--results=\) is empty"),
    # translate: which model
    ("no model", "translate", TEXT, 2, "Missing argument 'model'"),
    ("two models", f"translate {RUN} {RUN}", TEXT, 2, "unexpected extra argument"),
    ("an unknown run", "translate {runs}/seed9", TEXT, 2, "seed9: there is no such run .*did you mean 'seed1'"),
    ("a file for a run", "translate {out}/text", TEXT, 2, "out/text: there is no such run"),
    ("a folder that is no run", "translate {out}", TEXT, 2, r"config\.yaml: there is no such file"),
    ("a truncated model", "translate {runs}/truncated", TEXT, 2, r"model\.safetensors: not a safetensors file"),
    ("an empty model", "translate {runs}/empty", TEXT, 2, r"model\.safetensors: not a safetensors file"),
    ("a model that is text", "translate {runs}/text", TEXT, 2, r"model\.safetensors: not a safetensors file"),
    ("a model of another width", "translate {runs}/width", TEXT, 2, r"its shape is \[.*expected"),
    ("a model of more layers", "translate {runs}/layers", TEXT, 2, "missing, though .*config.yaml asks for it"),
    ("a model of fewer layers", "translate {runs}/fewer", TEXT, 2, "not in the model of"),
    ("a model of NaN", "translate {runs}/nan", TEXT, 2, "predicts NaN or infinity"),
    ("no model file", "translate {runs}/untrained", TEXT, 2, r"model\.safetensors: there is no such file"),
    ("a diverged run", "translate {runs}/diverged", TEXT, 2, "the training diverged"),
    ("no summary", "translate {runs}/unfinished", TEXT, 2, "not been trained to its end"),
    ("an unknown key", "translate {runs}/key", TEXT, 2, "model.hedas: unknown key; did you mean 'heads'"),
    ("a wrong value", "translate {runs}/value", TEXT, 2, "model.norm: 'middle'"),
    ("a configuration that is no YAML", "translate {runs}/yaml", TEXT, 2, "not valid YAML"),
    ("a binary configuration", "translate {runs}/binary", TEXT, 2, "not UTF-8 text"),
    ("another tokenizer", f"translate {RUN} --corpora {{out}}/other", TEXT, 2, "they do not belong together"),
    ("a broken tokenizer", f"translate {RUN} --corpora {{out}}/broken", TEXT, 2, "not a subword model"),
    ("a broken truecaser", f"translate {RUN} --corpora {{out}}/uncased", TEXT, 2, "not a truecasing model"),
    ("no corpus", f"translate {RUN} --corpora {{out}}", TEXT, 2, r"provenance\.json: there is no such file"),
    ("a broken export", "translate {out}/export-json", TEXT, 2, r"config\.json: not the configuration of an exported"),
    ("an export of less", "translate {out}/export-less", TEXT, 2, r"subword\.model: there is no such file"),
    # translate: which text
    ("no such text", f"translate {RUN} -i {{out}}/none", b"", 2, "none: no such file"),
    ("a folder for a text", f"translate {RUN} -i {{out}}", b"", 2, "out: is a directory"),
    ("a binary file", f"translate {RUN} -i {{out}}/image", b"", 2, "image: line 1: not text but a binary file"),
    ("a binary stream", f"translate {RUN}", BINARY, 2, "standard input: line 1: not"),
    ("NUL in a text", f"translate {RUN}", b"Yksi\0kaksi\n", 2, "line 1: not text but a binary file"),
    ("Latin-1", f"translate {RUN}", "Neljä\n".encode("latin-1"), 2, "line 1: not UTF-8"),
    ("no text at all", f"translate {RUN}", b"", 0, ""),
    ("an empty line", f"translate {RUN}", b"\n", 0, ""),
    ("white space", f"translate {RUN}", b" \t\xc2\xa0\n", 0, ""),
    ("a line of 10,000 words", f"translate {RUN}", LONG + b"\n", 0, "warning: line 1: longer than the 24 subwords"),
    ("a word of 3,000 letters", f"translate {RUN}", b"y" * 3000 + b"\n", 0, "warning: line 1"),
    ("control characters", f"translate {RUN}", b"Yksi \x0b\x0c\x1b[31m kaksi\r\n", 0, ""),
    ("symbols never seen", f"translate {RUN}", "𝔸 中文 <sent> &\n".encode(), 0, ""),
    # translate: how and where to
    ("a beam of none", f"translate {RUN} --beam 0", TEXT, 2, "--beam.*greater than or equal to 1"),
    ("a beam in words", f"translate {RUN} --beam many", TEXT, 2, "--beam.*integer"),
    ("more best than the beam", f"translate {RUN} --n-best 6", TEXT, 2, "n-best: 6: more than the beam, 5"),
    ("an unknown device", f"translate {RUN} --device abacus", TEXT, 2, "--device: 'abacus'"),
    ("no such device", f"translate {RUN} --device cuda:7", TEXT, 2, "--device: 'cuda:7'"),
    ("no threads", f"translate {RUN} --threads 0", TEXT, 2, "--threads"),
    ("an unknown option", f"translate {RUN} --bean 3", TEXT, 2, "No such option: --bean.*--beam"),
    ("output under a file", f"translate {RUN} -o {{out}}/text/new", TEXT, 2, "out/text: (file exists|not a directory)"),
    ("output that is read-only", f"translate {RUN} -o /proc/none", TEXT, 2, "/proc/.*"),
    ("output that is a folder", f"translate {RUN} -o {{out}}", TEXT, 2, "this is a folder; name a file"),
    ("a broken text to a file", f"translate {RUN} -o {{out}}/new", b"Yksi\n\xff\n", 2, "line 2: not UTF-8"),
    # attend
    ("an empty sentence", ["attend", RUN, " "], b"", 2, "the sentence is empty"),
    ("a layer too many", f"attend {RUN} Yksi --layer 3", b"", 2, "layer: 3: the model has 2"),
    ("no head", f"attend {RUN} Yksi --head 0", b"", 2, "head: 0: the layer has 2"),
    ("no such attention", f"attend {RUN} Yksi --attention self", b"", 2, "'self' is not one of"),
    ("a drawing under a file", f"attend {RUN} Yksi --svg {{out}}/text/x.svg", b"", 2, "out/text: "),
    ("a drawing of no kind", f"attend {RUN} Yksi --svg {{out}}/x.doc", b"", 2, r"x\.doc: .*\.svg"),
    ("attention of a broken model", "attend {runs}/truncated Yksi", b"", 2, "not a safetensors file"),
    # compare
    ("a run that is not there", f"compare {RUN} {{runs}}/seed9", b"", 2, "seed9: there is no such run"),
    ("one run alone", f"compare {RUN}", b"", 2, "Missing argument"),
    ("runs of two datasets", f"compare {RUN} {{runs}}/dataset", b"", 2, "two datasets"),
    (
        "an untranslated run",
        f"compare {RUN} {{runs}}/untranslated",
        b"",
        2,
        r"hypotheses\.jsonl: there is no such file",
    ),
    ("half a translation", f"compare {RUN} {{runs}}/half", b"", 2, r"hypotheses\.jsonl: "),
    ("a page under a file", f"compare {RUN} {RUN} -o {{out}}/text/page.html", b"", 2, "out/text: "),
    ("an unknown score", f"compare {RUN} {RUN} --by meteor", b"", 2, "'meteor' is not one of"),
    # export
    ("an export of nothing", "export {runs}/seed9 {out}/new", b"", 2, "there is no such run"),
    ("an export of a broken model", "export {runs}/truncated {out}/new", b"", 2, "not a safetensors file"),
    ("an export with another tokenizer", f"export {RUN} {{out}}/new --corpora {{out}}/other", b"", 2, "subwords"),
    ("an export over a file", f"export {RUN} {{out}}/text", b"", 2, "this is a file"),
    ("an export under a file", f"export {RUN} {{out}}/text/new", b"", 2, "out/text/.*: not a directory"),
    ("an export over other work", f"export {RUN} {{out}}/work --force", b"", 2, "not an exported model"),
    ("an export of an export", "export {out}/export-less {out}/new", b"", 2, "already an exported model"),
    # the steps
    ("a training of nothing", "train", b"", 2, "name a run"),
    ("settings that are no JSON", ["train", "--settings", "{{"], b"", 2, "--settings: not valid JSON"),
    ("a translation of nothing", "translate-run {runs}/seed9", b"", 2, "there is no such run"),
    ("a score of nothing", "score {runs}/seed9", b"", 2, "there is no such file"),
    ("an analysis of nothing", "analyse {runs}/seed9", b"", 2, "there is no such file"),
    ("a page of no corpus", "corpus-page {out} --output {out}/page.html", b"", 2, "no such file"),
    ("schemas into a file", "schemas {out}/text", b"", 2, "out/text"),
    ("a law under a file", "variance-law --output {out}/text/law.json", b"", 2, "out/text"),
    ("a study of no configuration", "study ablation --config {out}/none.yaml", b"", 2, "there is no such file"),
    ("a preparation of nothing", "prepare {out}/text --output {out}/new", b"", 2, "name a dataset"),
]


@pytest.fixture(scope="module")
def places(trained, edit, tmp_path_factory) -> dict[str, Path]:
    """Runs and corpora, each broken in its own way."""
    import torch
    from safetensors.torch import load_file, save_file

    from reluformer.corpus.subword import train
    from reluformer.export.folder import export_model

    folder = tmp_path_factory.mktemp("shop")
    runs, out = folder / "results" / "runs" / "numbers" / "reluformer", folder / "out"
    (folder / "results" / "corpora").parent.mkdir()
    (folder / "results" / "corpora").symlink_to(trained.corpora)
    out.mkdir()

    def run(name: str) -> Path:
        return shutil.copytree(trained.run, runs / name)

    def edited(name: str, *keys: str, value: object) -> None:
        edit(run(name) / "config.yaml", *keys, value=value)

    model = (run("seed1") / "model.safetensors").read_bytes()
    for name, content in (("truncated", model[:-1000]), ("empty", b""), ("text", b"weights" * 9)):
        (run(name) / "model.safetensors").write_bytes(content)
    weights = load_file(runs / "seed1" / "model.safetensors")
    save_file({key: value * torch.nan for key, value in weights.items()}, run("nan") / "model.safetensors")
    (run("untrained") / "model.safetensors").unlink()
    (run("diverged") / "summary.json").write_text('{"status": "diverged"}')
    (run("unfinished") / "summary.json").unlink()
    edited("width", "model", "width", value=64)
    edited("layers", "model", "decoder_layers", value=3)
    edited("fewer", "model", "decoder_layers", value=1)
    edited("key", "model", "hedas", value=2)
    edited("value", "model", "norm", value="middle")
    edited("dataset", "dataset", value="letters")
    (run("yaml") / "config.yaml").write_text("a: [b\n")
    (run("binary") / "config.yaml").write_bytes(BINARY)
    (run("untranslated") / "hypotheses.jsonl").unlink()
    half = run("half") / "hypotheses.jsonl"
    half.write_bytes(half.read_bytes()[:2000])

    corpus = trained.corpora / "numbers"
    for name in ("other", "broken", "uncased"):
        shutil.copytree(corpus, out / name / "numbers", ignore=shutil.ignore_patterns("raw", "store"))
    words = (corpus / "train.tok.fi").read_text(encoding="utf-8").split()
    train(dict.fromkeys(words, 9), 60, out / "other" / "numbers" / "subword.model")
    (out / "broken" / "numbers" / "subword.model").write_bytes(BINARY)
    (out / "uncased" / "numbers" / "truecase.fi").write_bytes(BINARY)
    for name in ("export-json", "export-less"):
        export_model(trained.run, out / name)
    (out / "export-json" / "config.json").write_text("{")
    (out / "export-less" / "subword.model").unlink()
    (out / "text").write_text("text\n")
    (out / "image").write_bytes(BINARY)
    (out / "work").mkdir()
    (out / "work" / "thesis.tex").touch()
    return {"runs": runs, "out": out, "folder": folder}


def files(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if not path.is_dir()}


@pytest.mark.parametrize(
    ("arguments", "stdin", "code", "error"), [case[1:] for case in CASES], ids=[c[0] for c in CASES]
)
def test_bad_input(places, command, monkeypatch, arguments, stdin, code, error):
    monkeypatch.chdir(places["folder"])
    before = files(places["folder"])
    words = arguments.split() if isinstance(arguments, str) else arguments
    result = command(*(word.format(**places) for word in words), stdin=stdin)
    assert result.code == code, result.err
    assert "Traceback" not in result.err and result.err.count("\n") == (1 if error else 0)
    assert re.search(error, result.err)
    if code:
        assert result.err.startswith("reluformer: ") and result.out == ""
    else:
        assert result.out.count("\n") == stdin.count(b"\n")
        assert bool(result.out.strip()) == bool(stdin.strip(b" \t\n\xc2\xa0"))
    assert files(places["folder"]) == before


def test_there_are_fifty_and_more():
    assert len(CASES) >= 50 and len({case[0] for case in CASES}) == len(CASES)


@pytest.fixture
def start(warm_python):
    def start(*arguments: object, **streams) -> subprocess.Popen[bytes]:
        command = [warm_python, "-m", "reluformer.cli", *map(str, arguments)]
        return subprocess.Popen(command, stderr=subprocess.PIPE, **streams)

    return start


@pytest.mark.slow
def test_a_closed_pipe_ends_quietly(places, start):
    process = start("translate", places["runs"] / "seed1", "--chunk", 1, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    process.stdin.write(TEXT)
    process.stdin.flush()
    assert process.stdout.readline().startswith(b"Um dois")
    process.stdout.close()
    with pytest.raises(BrokenPipeError):
        while True:  # until the other end is closed
            process.stdin.write(TEXT)
            process.stdin.flush()
            time.sleep(0.01)
    assert process.wait(600) == 1
    assert process.stderr.read() == b""


@pytest.mark.slow
@pytest.mark.parametrize("interrupted", ["while it waits for text", "while it translates"])
def test_ctrl_c_ends_with_130_and_no_file(places, start, tmp_path, interrupted):
    output = tmp_path / "new" / "text"
    process = start("translate", places["runs"] / "seed1", "-o", output, "--chunk", 1, stdin=subprocess.PIPE)
    try:
        process.stdin.write(TEXT * (1 if interrupted == "while it waits for text" else 2000))
        process.stdin.flush()
        deadline = time.monotonic() + 600
        while not any(path.stat().st_size for path in output.parent.glob(".*")):  # the first translation is written
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGINT)
        assert process.wait(600) == 130
    finally:
        process.kill()
    assert process.stderr.read() == b""
    assert list(output.parent.iterdir()) == []
