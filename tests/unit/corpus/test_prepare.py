from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from reluformer.config.dataset import CorpusConfig
from reluformer.config.settings import parse, read_yaml
from reluformer.corpus import CorpusError
from reluformer.corpus.fetch import fetch
from reluformer.corpus.prepare import Workers, chunks, prepare
from reluformer.corpus.store import Store
from reluformer.corpus.subword import Subword

Write = Callable[..., tuple[CorpusConfig, list[Path]]]
DATASETS = Path(__file__).parents[3] / "config" / "datasets"


def text(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").split("\n")[:-1]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_all_outputs_are_written(write_corpus: Write, tmp_path: Path) -> None:
    config, archives = write_corpus(documents=True)
    out = tmp_path / "out"
    prepare(config, "de", "en", archives, out, 1)
    names = set(contents(out))
    for split in ("train", "valid", "test"):
        for language in ("de", "en"):
            assert {f"raw/{split}.{language}", f"{split}.tok.{language}"} <= names
        assert {f"{split}.documents.txt", f"store/{split}/meta.json"} <= names
    assert {"subword.model", "statistics.json", "provenance.json"} <= names
    assert not any(".partial" in name for name in names)


def test_files_are_line_aligned_and_the_store_is_the_text(write_corpus: Write, tmp_path: Path) -> None:
    config, archives = write_corpus(lowercase=True)
    prepare(config, "de", "en", archives, tmp_path / "out", 1)
    model = Subword(tmp_path / "out" / "subword.model")
    for split in ("train", "valid", "test"):
        store = Store(tmp_path / "out" / "store" / split)
        for language, ids in (("de", store.src), ("en", store.tgt)):
            raw, tokens = (
                text(tmp_path / "out" / name) for name in (f"raw/{split}.{language}", f"{split}.tok.{language}")
            )
            assert len(raw) == len(tokens) == len(store)
            assert [line.lower().replace(".", " .") for line in raw] == tokens
            assert [model.decode(ids(i).tolist()) for i in range(len(store))] == tokens


@pytest.mark.slow
def test_the_number_of_workers_changes_nothing(write_corpus: Write, tmp_path: Path) -> None:
    config, archives = write_corpus(train=5000, truecase=True, max_ratio=1.4, documents=True)
    for workers in (1, 3):
        prepare(config, "de", "en", archives, tmp_path / str(workers), workers)
    assert contents(tmp_path / "1") == contents(tmp_path / "3")


def test_statistics_and_provenance(write_corpus: Write, tmp_path: Path) -> None:
    config, archives = write_corpus(max_tokens=8)
    prepare(config, "de", "en", archives, tmp_path, 1)
    statistics, provenance = (
        json.loads((tmp_path / f"{name}.json").read_text()) for name in ("statistics", "provenance")
    )
    counts = statistics["cleaning"]["train"]
    assert counts["read"] == 300 == counts["kept"] + counts["max_tokens"] and counts["max_tokens"] > 0
    assert statistics["splits"]["train"]["pairs"] == counts["kept"]
    assert statistics["splits"]["test"] | {"lengths": None} == {
        "pairs": 20,
        "subwords": {
            side: int(getattr(Store(tmp_path / "store" / "test"), f"{side}_lengths").sum()) for side in ("src", "tgt")
        },
        "unknown": {"src": 0, "tgt": 0},
        "lengths": None,
    }
    assert statistics["vocabulary"] == 100
    assert [archive["name"] for archive in provenance["archives"]] == [path.name for path in archives]
    assert provenance["archives"][0]["sha256"] == hashlib.sha256(archives[0].read_bytes()).hexdigest()
    assert provenance["configuration"]["max_tokens"] == 8


def test_every_23rd_pair(write_corpus: Write, tmp_path: Path) -> None:
    config, archives = write_corpus(
        files={s: {"src": f"{s}.src", "tgt": f"{s}.tgt"} for s in ("train", "test")}, valid_every=23
    )
    prepare(config, "de", "en", archives, tmp_path / "out", 1)
    lines = text(archives[0])
    assert text(tmp_path / "out" / "raw" / "valid.de") == lines[22::23]
    assert text(tmp_path / "out" / "raw" / "train.de") == [line for i, line in enumerate(lines, 1) if i % 23]


def test_straightened_apostrophes_only_in_test_and_never_in_raw(write_corpus: Write, tmp_path: Path) -> None:
    config, archives = write_corpus(straighten=True)
    for path in archives:
        path.write_text(path.read_text(encoding="utf-8").replace(".\n", " it’s.\n"), encoding="utf-8")
    prepare(config, "de", "en", archives, tmp_path / "out", 1)
    assert text(tmp_path / "out" / "test.tok.en")[0].endswith(" it &apos;s .")
    assert text(tmp_path / "out" / "train.tok.en")[0].endswith(" it ’ s .")
    assert text(tmp_path / "out" / "raw" / "test.en")[0].endswith(" it’s.")


def test_documented_cleaning(write_corpus: Write, tmp_path: Path) -> None:
    """CRLF, other line ends, empty sides and a 100,000-character line: cleaned and counted, not errors."""
    config, archives = write_corpus()
    odd = [("a\u2028b.", "c d."), ("", "only one side."), ("x" * 100_000, "long."), ("wort " * 20_000, "too many.")]
    for side, path in enumerate(archives[:2]):
        lines = text(path) + [pair[side] for pair in odd]
        path.write_text("".join(f"{line}\r\n" for line in lines), encoding="utf-8", newline="")
    prepare(config, "de", "en", archives, tmp_path / "out", 1)
    counts = json.loads((tmp_path / "out" / "statistics.json").read_text())["cleaning"]["train"]
    assert {step: n for step, n in counts.items() if n} == {
        "read": 304,
        "empty": 1,
        "max_tokens": 1,
        "long_word": 1,
        "kept": 301,
    }
    raw = (tmp_path / "out" / "raw" / "train.de").read_bytes().decode()
    assert "\r" not in raw and raw.splitlines()[-1] == "a b."


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (b"only one line\n", r"train\.src ends at line 1, .*train\.tgt at line 300"),
        (b"gr\xfc\xdfe\n" * 300, r"train\.src:1: invalid UTF-8"),
        (b"a\0b\n" * 300, r"train\.src:1: a NUL byte"),
        (b"", r"train\.src: the file is empty"),
    ],
    ids=["unequal", "latin-1", "nul", "empty"],
)
@pytest.mark.parametrize("workers", [1, 2])
def test_malformed_corpora_leave_nothing(
    write_corpus: Write, tmp_path: Path, broken: bytes, message: str, workers: int
) -> None:
    config, archives = write_corpus()
    archives[0].write_bytes(broken)
    with pytest.raises(CorpusError, match=message):
        prepare(config, "de", "en", archives, tmp_path / "out", workers)
    assert list((tmp_path / "out").iterdir()) == []


def test_nothing_left(write_corpus: Write, tmp_path: Path) -> None:
    config, archives = write_corpus(min_words=50)
    with pytest.raises(CorpusError, match="no train pair is left"):
        prepare(config, "de", "en", archives, tmp_path / "out", 1)


def test_prepared_again_in_place(write_corpus: Write, tmp_path: Path) -> None:
    config, archives = write_corpus(vocabulary=100)
    prepare(config, "de", "en", archives, tmp_path / "out", 1)
    config, archives = write_corpus(vocabulary=80)
    prepare(config, "de", "en", archives, tmp_path / "out", 1)
    assert Store(tmp_path / "out" / "store" / "train").vocabulary == 80
    assert len(Subword(tmp_path / "out" / "subword.model")) == 80


# The published corpora are not part of the project: RELUFORMER_ARCHIVES names a folder with them.
ARCHIVES = os.environ.get("RELUFORMER_ARCHIVES")
needs_archives = pytest.mark.skipif(ARCHIVES is None, reason="RELUFORMER_ARCHIVES is not set")


def published(name: str, folder: Path) -> Path:
    """Prepares a published corpus from the files under RELUFORMER_ARCHIVES."""
    config = parse(CorpusConfig, read_yaml(DATASETS / f"{name}.yaml")["corpus"], name)
    src, tgt = (read_yaml(DATASETS / f"{name}.yaml")[side] for side in ("src", "tgt"))
    files = [fetch(archive, folder / "resources", Path(str(ARCHIVES))) for archive in config.archives]
    prepare(config, src, tgt, files, folder / name, 2)
    return folder / name


FAIRSEQ_TEST = {
    "de": "e718c783e33160b7d72af8f733756a466e0d0c016eff8ab624c1b0d1d01cbbdf",
    "en": "4b127beb9050511a3e6209cd837ff36f623a3a423666b32aba6e208b7330cf4c",
}


@needs_archives
def test_iwslt14_test_text_is_that_of_fairseq(tmp_path: Path) -> None:
    """The digests are of the output of prepare-iwslt14.sh with Moses' Perl scripts on the published test sets."""
    corpus = published("iwslt14", tmp_path)
    for language, digest in FAIRSEQ_TEST.items():
        tokens = (corpus / f"test.tok.{language}").read_bytes()
        assert tokens.count(b"\n") == 6750
        assert hashlib.sha256(tokens).hexdigest() == digest


@needs_archives
def test_europarl7_sizes(tmp_path: Path) -> None:
    splits = json.loads((published("europarl7", tmp_path) / "statistics.json").read_text())["splits"]
    assert [(splits[s]["documents"], splits[s]["pairs"]) for s in ("valid", "test")] == [(240, 3587), (360, 5134)]


def test_two_sides_of_one_language(tmp_path: Path) -> None:
    """As in text simplification: source and target have separate files and truecasing models."""
    lines = {"hard": [f"An Intricate utterance numbered {i} ." for i in range(40)]}
    lines["easy"] = [f"A Simple text {i} ." for i in range(40)]
    for name, text in lines.items():
        (tmp_path / name).write_text("".join(f"{line}\n" for line in text))
    corpus = {"reader": "lines", "archives": [{"name": "hard"}, {"name": "easy"}], "truecase": True, "vocabulary": 64}
    corpus |= {"files": {"train": {"src": "hard", "tgt": "easy"}}, "held_out": {"valid": 0.2, "test": 0.2}}
    archives = [tmp_path / "hard", tmp_path / "easy"]
    prepare(CorpusConfig.model_validate(corpus), "en", "EN", archives, tmp_path / "out", 1)
    for split in ("train", "valid", "test"):
        assert set((tmp_path / "out" / "raw" / f"{split}.source.en").read_text().splitlines()) <= set(lines["hard"])
        assert set((tmp_path / "out" / "raw" / f"{split}.EN").read_text().splitlines()) <= set(lines["easy"])
    models = [(tmp_path / "out" / f"truecase.{side}").read_text() for side in ("source.en", "EN")]
    assert "Intricate" in models[0] and "Intricate" not in models[1]


ODD = [
    "",
    " ",
    "\u200b",
    "a\u2028b c",
    "d\x85e",
    "f\rg",
    "h\x0ci \x1c j",
    "\ufeffk",
    "l" * 3000,
    "m\tn",
    "o\u3000p",
    "\x07q",
]


def test_odd_lines_of_a_test_set_stay_one_line_in_every_file(tmp_path: Path) -> None:
    """Every tool sees the same line numbers, and no line of a test set is dropped without being counted."""
    files = {f"{split}.{side}": ODD for split in ("valid", "test") for side in "ab"}
    files |= {f"train.{side}": [f"{i} {i * i} word" for i in range(60)] for side in "ab"}
    for name, lines in files.items():
        (tmp_path / name).write_bytes("\n".join(lines).encode())  # without a final newline
    corpus = {"reader": "lines", "archives": [{"name": name} for name in files], "vocabulary": 64}
    corpus |= {"files": {s: {"src": f"{s}.a", "tgt": f"{s}.b"} for s in ("train", "valid", "test")}}
    config = CorpusConfig.model_validate(corpus)
    prepare(config, "de", "en", [tmp_path / name for name in files], tmp_path / "out", 1)
    for name in ("raw/test.de", "raw/test.en", "test.tok.de", "test.tok.en"):
        content = (tmp_path / "out" / name).read_bytes()
        assert content.count(b"\n") == len(content.decode().splitlines()) == len(ODD), name
    statistics = json.loads((tmp_path / "out" / "statistics.json").read_text())
    assert statistics["cleaning"]["test"]["kept"] == len(ODD) == len(Store(tmp_path / "out" / "store" / "test"))
    assert [int(n) for n in Store(tmp_path / "out" / "store" / "test").src_lengths[:3]] == [0, 0, 0]


def square(number: int) -> int:
    return number * number


def process(_: int) -> int:
    return os.getpid()


def fail(number: int) -> int:
    if number == 3:
        raise ValueError("three")
    return number


@pytest.mark.parametrize("count", [0, 1, 3])
def test_results_are_in_order(count: int) -> None:
    with Workers(count) as pool:
        assert list(pool.stream(square, range(50))) == [n * n for n in range(50)]


def test_several_processes_work() -> None:
    with Workers(2) as pool:
        assert os.getpid() not in set(pool.stream(process, range(8)))


def test_one_worker_is_this_process() -> None:
    with Workers(1) as pool:
        assert set(pool.stream(process, range(3))) == {os.getpid()}


def test_reads_only_a_few_ahead() -> None:
    read = []

    def items() -> Iterator[int]:
        for number in range(1000):
            read.append(number)
            yield number

    with Workers(2) as pool:
        results = pool.stream(square, items())
        next(results)
        assert len(read) <= 6


@pytest.mark.parametrize("count", [1, 2])
def test_an_error_is_raised(count: int) -> None:
    with pytest.raises(ValueError, match="three"), Workers(count) as pool:
        list(pool.stream(fail, range(100)))


def test_chunks() -> None:
    assert list(chunks(range(5), 2)) == [[0, 1], [2, 3], [4]]
    assert list(chunks([], 2)) == []
