"""YAML as people write it: the values of scalars, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from reluformer.config.settings import SettingsError, Strict, load, parse_scalar, parse_yaml, read_yaml


class Words(Strict):
    title: str = ""
    languages: list[str] = []
    number: int = 0
    rate: float = 0.0
    switch: bool = False
    path: str | None = None


def written(folder: Path, content: str | bytes) -> Path:
    path = folder / "words.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    return path


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *[(word, word) for word in ("no", "on", "off", "yes", "y", "N", "+5", "0x1F", "1:30", "010", "1_000", "=")],
        *[("1e-3", 0.001), ("5E+4", 50000.0), ("1.", 1.0), (".5", 0.5), ("-0.25", -0.25), ("1.2.3", "1.2.3")],
        *[("2023-02-13", "2023-02-13"), ("true", True), ("False", False), ("~", None), ("null", None), ("~/a", "~/a")],
        *[("12", 12), ("-3", -3), ("0", 0), ("'12'", "12"), ("", None), ("a: b", "a: b")],
    ],
)
def test_scalars(text, value):
    assert parse_scalar(text) == value and type(parse_scalar(text)) is type(value)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("languages: [no, on, y]", {"languages": ["no", "on", "y"]}),
        ("title: 1984", {"title": "1984"}),
        ("languages: [1, a, 2]", {"languages": ["1", "a", "2"]}),
        ("number: 1_000\nrate: 1e-3\nswitch: yes", {"number": 1000, "rate": 0.001, "switch": True}),
        ("title: a\r\nnumber: 2\r\n", {"title": "a", "number": 2}),
        (b"\xef\xbb\xbftitle: a\n", {"title": "a"}),
        ("title: 2023-02-13\npath: ~", {"title": "2023-02-13", "path": None}),
        ("", {}),
        ("# nothing\n", {}),
    ],
)
def test_plain_yaml_is_read(tmp_path: Path, content, expected):
    assert load(Words, written(tmp_path, content)) == Words(**expected)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("title: a\nnumber: 1\ntitle: b\n", "title: this key is repeated, in lines 1 and 3"),
        ("a:\n  b: 1\n  c: 2\n  b: 3\n", "b: this key is repeated, in lines 2 and 4"),
        ("a: {b: 1, 'b': 2}", "b: this key is repeated, in lines 1 and 1"),
        ("- {x: 1,\n   x: 2}\n", "x: this key is repeated, in lines 1 and 2"),
        ("x: &x {a: 1,\n a: 2}\ny: {<<: *x}", "a: this key is repeated, in lines 1 and 2"),
        ("1: a\n'1': b", "1: this key is repeated, in lines 1 and 2"),
        ("a: 1\n---\nb: 2\n", "expected a single document"),
        ("a:\n\tb: 1\n", "tab|cannot start any token"),
        ("title: a\n".encode("utf-16"), "not UTF-8 text; save the file as UTF-8"),
        ("title: true", "title: True: input should be a valid string"),
        ("title:", "title: None: input should be a valid string"),
        ("rate: NaN", "rate: 'NaN': input should be a finite number"),
        ("rate: .inf", "rate: inf: input should be a finite number"),
        ("number: 1:30", "number: '1:30': input should be a valid integer"),
    ],
)
def test_anything_else_is_a_one_line_error(tmp_path: Path, content, message):
    with pytest.raises(SettingsError, match=message) as caught:
        load(Words, written(tmp_path, content))
    assert "words.yaml: " in str(caught.value) and "\n" not in str(caught.value)


def test_anchors_and_merge_keys():
    text = "a: &a {x: 1, y: 1}\nb: &b {z: 1}\nc: {<<: [*a, *b], y: 2}\nd: {<<: *a}\ne: *b\n"
    data = parse_yaml(text)
    assert data["c"] == {"x": 1, "y": 2, "z": 1} and data["d"] == data["a"] and data["e"] == {"z": 1}


def test_json_is_read_too(tmp_path: Path):
    (tmp_path / "a.json").write_text('{"a":\t1, "b": 1e-3}')
    assert read_yaml(tmp_path / "a.json") == {"a": 1, "b": 0.001}
    (tmp_path / "a.json").write_text('{"a": 1')
    with pytest.raises(SettingsError, match=r"a\.json: not valid JSON"):
        read_yaml(tmp_path / "a.json")


def test_a_folder_is_no_file(tmp_path: Path):
    with pytest.raises(SettingsError, match="is a directory"):
        read_yaml(tmp_path)


def test_nothing_is_executed():
    with pytest.raises(SettingsError, match="constructor"):
        parse_yaml("a: !!python/object/apply:os.getcwd []")


def test_a_repeated_key_in_json_is_refused(tmp_path):
    path = tmp_path / "c.json"
    path.write_text('{"a": {"b": 1, "b": 2}}', encoding="utf-8")
    with pytest.raises(SettingsError, match=r"c.json: b: this key is repeated"):
        read_yaml(path)
