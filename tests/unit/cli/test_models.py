"""The commands for trained models, run in the test process."""

from __future__ import annotations

import json
from xml.etree import ElementTree

import pytest


@pytest.fixture
def expected(trained) -> list[str]:
    """The translations of the test split that the translate step wrote."""
    from reluformer.corpus.moses import detokenise_all

    lines = (trained.run / "hypotheses.jsonl").read_text(encoding="utf-8").splitlines()
    return detokenise_all([json.loads(line)["sentences"][0] for line in lines], "pt", recase=True)


def test_translate_writes_what_the_step_wrote(trained, expected, command):
    result = command("translate", trained.run, stdin="\n".join(trained.raw))
    assert (result.code, result.err) == (0, "")
    assert result.out.splitlines() == expected


def test_translate_to_a_file(trained, expected, command, tmp_path):
    (tmp_path / "in").write_text("\n".join(trained.raw[:9]) + "\n", encoding="utf-8")
    result = command("translate", trained.run, "-i", tmp_path / "in", "-o", tmp_path / "new" / "out", "--chunk", 4)
    assert result == (0, "", "")
    assert (tmp_path / "new" / "out").read_text(encoding="utf-8").splitlines() == expected[:9]
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["out"]


def test_translate_options_reach_the_search(trained, command):
    text = "\n".join(trained.raw[:5])
    best = [command("translate", trained.run, "--json", "--n-best", 3, "--beam", beam, stdin=text) for beam in (3, 8)]
    records = [[json.loads(line) for line in result.out.splitlines()] for result in best]
    assert all(len(record["translations"]) == 3 for record in records[0] + records[1])
    for narrow, wide in zip(*records, strict=True):
        scores = [translation["score"] for translation in wide["translations"]]
        assert scores == sorted(scores, reverse=True)
        assert scores[-1] >= narrow["translations"][-1]["score"]
    widest = command("translate", trained.run, "--json", "--n-best", 8, "--beam", 8, stdin=text).out
    assert all(len(json.loads(line)["translations"]) == 8 for line in widest.splitlines())
    long = command("translate", trained.run, "--length-penalty", 3, "--json", stdin=text).out
    assert json.loads(long.splitlines()[0])["translations"][0]["score"] > -0.05


def test_a_long_line_is_translated_in_parts_with_a_warning(trained, command):
    sentence = "Yksi kaksi kolme neljä viisi kuusi ."
    once = command("translate", trained.run, stdin=sentence).out.strip()
    result = command("translate", trained.run, stdin=f"{' '.join([sentence] * 30)}\n\n{sentence}")
    first, blank, last = result.out.splitlines()
    assert blank == "" and last == once
    assert result.err.count("\n") == 1 and "warning: line 1: longer than the 24 subwords" in result.err
    assert first.lower().count(once.lower()) == 30


def test_translate_accepts_an_export(trained, expected, command, tmp_path):
    result = command("export", trained.run, tmp_path / "model")
    assert result == (0, f"{tmp_path / 'model'}\n", "")
    assert command("translate", tmp_path / "model", stdin="\n".join(trained.raw[:9])).out.splitlines() == expected[:9]


def test_attend_shows_the_translation_and_the_map(trained, command):
    written = command("translate", trained.run, stdin="Yksi kaksi kolme .").out
    result = command("attend", trained.run, "Yksi kaksi kolme .")
    assert result.code == 0 and result.err == ""
    lines = result.out.splitlines()
    assert lines[0] + "\n" == written and lines[1] == "cross-attention, layer 2, mean over heads"
    assert any(line.lstrip().startswith("▁um ") and set(line) & set("░▒▓█") for line in lines)


def test_attend_takes_a_target_and_a_map_of_choice(trained, command):
    arguments = ("attend", trained.run, "Yksi kaksi .", "--target", "Dois um .", "--json")
    reading = json.loads(command(*arguments, "--attention", "decoder", "--layer", 1, "--head", 2).out)
    assert reading["queries"] == reading["keys"] == ["<s>", "▁dois", "▁um", "▁."]  # truecased as the corpus is
    assert reading["title"] == "decoder self-attention, layer 1, head 2"
    weights = reading["weights"]
    assert all(weights[i][j] == 0 for i in range(4) for j in range(i + 1, 4)) and max(map(max, weights)) > 0


def test_attend_works_on_an_export_and_draws(trained, command, tmp_path):
    command("export", trained.run, tmp_path / "model")
    question = ("Yksi kaksi .", "--target", "Um dois .", "--json")
    assert command("attend", tmp_path / "model", *question).out == command("attend", trained.run, *question).out
    result = command("attend", tmp_path / "model", "Yksi kaksi .", "--svg", tmp_path / "map.svg")
    assert result == (0, f"{tmp_path / 'map.svg'}\n", "")
    assert ElementTree.parse(tmp_path / "map.svg").getroot().tag.endswith("svg")


@pytest.mark.parametrize("json_too", [False, True])
def test_compare_writes_a_page_and_a_summary(trained, command, tmp_path, monkeypatch, json_too):
    monkeypatch.chdir(tmp_path)
    arguments = ["--json", "--output", "compare.html"] if json_too else []
    result = command("compare", trained.other, trained.run, *arguments, "--show", 2)
    assert result.code == 0
    page = (tmp_path / "compare.html").read_text(encoding="utf-8")
    assert page.count("<article>") >= 2
    if json_too:
        reading = json.loads(result.out)
        assert reading["b_better"] > reading["a_better"] and len(reading["most_different"]) == 2
    else:
        assert "B: reluformer/seed1" in result.out and result.out.endswith("compare.html\n")


def test_compare_as_json_writes_no_page_by_itself(trained, command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command("compare", trained.other, trained.run, "--json")
    assert list(tmp_path.iterdir()) == []
