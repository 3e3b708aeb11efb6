"""The commands that look into models, in the process of the test."""

from __future__ import annotations

import json
from xml.etree import ElementTree

import pytest


def test_attend_shows_the_translation_and_the_map(trained, command):
    written = command("translate", trained.run, stdin="Yksi kaksi kolme .").out
    result = command("attend", trained.run, "Yksi kaksi kolme .")
    assert result.code == 0 and result.err == ""
    lines = result.out.splitlines()
    assert lines[0] + "\n" == written and lines[1] == "cross-attention, layer 2, mean over heads"
    assert any(line.lstrip().startswith("▁um ") and set(line) & set("░▒▓█") for line in lines)


def test_attend_takes_a_target_and_a_map_of_choice(trained, command):
    arguments = ("attend", trained.run, "Yksi kaksi .", "--target", "Dois um .", "--json")
    told = json.loads(command(*arguments, "--attention", "decoder", "--layer", 1, "--head", 2).out)
    assert told["queries"] == told["keys"] == ["<s>", "▁dois", "▁um", "▁."]  # truecased as the corpus is
    assert told["title"] == "decoder self-attention, layer 1, head 2"
    weights = told["weights"]
    assert all(weights[i][j] == 0 for i in range(4) for j in range(i + 1, 4)) and max(map(max, weights)) > 0


def test_attend_works_on_an_export_and_draws(trained, command, tmp_path):
    command("export", trained.run, tmp_path / "model")
    asked = ("Yksi kaksi .", "--target", "Um dois .", "--json")
    assert command("attend", tmp_path / "model", *asked).out == command("attend", trained.run, *asked).out
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
        told = json.loads(result.out)
        assert told["b_better"] > told["a_better"] and len(told["most_different"]) == 2
    else:
        assert "B: reluformer/seed1" in result.out and result.out.endswith("compare.html\n")


def test_compare_as_json_writes_no_page_by_itself(trained, command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command("compare", trained.other, trained.run, "--json")
    assert list(tmp_path.iterdir()) == []
