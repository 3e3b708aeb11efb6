"""A flattened module is the package's own code, and needs nothing of the package."""

from __future__ import annotations

import ast
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml

from reluformer.config.model import ModelConfig
from reluformer.config.systems import SystemConfig
from reluformer.export import flatten as flattening
from reluformer.export.flatten import FlattenError, Module, flatten
from reluformer.export.folder import plain_memory
from reluformer.model.transformer import Transformer

SYSTEMS = yaml.safe_load((Path(__file__).parents[3] / "config" / "systems.yaml").read_text(encoding="utf-8"))


@pytest.fixture
def package(monkeypatch):
    """Makes a package of these sources stand in for the real one."""

    def package(**sources: str) -> None:
        modules = {f"reluformer.{name}": Module(f"reluformer.{name}", text) for name, text in sources.items()}
        monkeypatch.setattr(flattening, "read_module", modules.__getitem__)

    return package


def imported(source: str) -> set[str]:
    nodes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ImportFrom | ast.Import)]
    return {
        name
        for node in nodes
        for name in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names])
    }


@pytest.mark.parametrize("system", [*SYSTEMS, "learned"])
def test_every_system_computes_the_same_when_flattened(system):
    memories = SystemConfig(**SYSTEMS["reluformer" if system == "learned" else system]).memories()
    if system == "learned":
        memories["encoder_attention"]["options"] = {"gamma": "learned"}
    small = {"encoder_layers": 2, "decoder_layers": 1, "width": 16, "heads": 2, "slots": 24, "vocabulary": 30}
    config = ModelConfig(**small, **memories, norm="post" if len(system) % 2 else "pre")
    torch.manual_seed(0)
    model = Transformer(config).eval()
    names = sorted({config.memory(place).activation for place in config.places()})
    source = flatten("reluformer.model.transformer", plain_memory(names))
    assert not {name for name in imported(source) if name.startswith(("reluformer", "pydantic", "yaml"))}
    assert ("entmax" in imported(source)) == bool({"sparsemax", "entmax15"} & set(names))
    space: dict = {}
    exec(compile(source, "flattened", "exec"), space)
    memory = {
        place: SimpleNamespace(**{**config.memory(place).model_dump(), "penalty": None}) for place in config.places()
    }
    flat = space["Transformer"](SimpleNamespace(**config.model_dump(), memory=memory.__getitem__)).eval()
    flat.load_state_dict(model.state_dict())
    src, tgt = torch.randint(5, 30, (3, 7)), torch.randint(5, 30, (3, 5))
    mask = torch.arange(7) < torch.tensor([[7], [4], [2]])
    with torch.no_grad():
        expected = model(src, mask, tgt, torch.ones_like(tgt, dtype=torch.bool))
        found = flat(src, mask, tgt, torch.ones_like(tgt, dtype=torch.bool))
    torch.testing.assert_close(found, expected)


def test_what_is_used_comes_first_and_what_is_not_stays_behind(package):
    package(
        low="import math\nimport json\n\nHALF = math.pi / 2\nUNUSED = json\n\n\ndef half():\n    return HALF\n",
        top='"""Top."""\nfrom reluformer.low import UNUSED, half\n\n\n@staticmethod\n'
        "def twice(x: UNUSED = 2) -> UNUSED:\n    return half() * x\n",
    )
    source = flatten("reluformer.top")
    assert "json" not in source and source.startswith('"""Top."""')
    assert source.index("HALF = ") < source.index("def half") < source.index("@staticmethod")
    space: dict = {}
    exec(source, space)
    assert space["twice"].__func__() == pytest.approx(3.14159, abs=1e-4)


def test_an_import_inside_a_function_is_inlined(package):
    package(
        low="def one():\n    return 1\n",
        top='"""Top."""\n\n\ndef two():\n    if True:\n'
        "        from reluformer.low import (\n            one,\n        )\n    return one() + 1\n",
    )
    space: dict = {}
    exec(flatten("reluformer.top"), space)
    assert space["two"]() == 2


def test_a_definition_can_be_replaced(package):
    package(
        low="import json\n\n\ndef one():\n    return json\n",
        other="NINE = 9\n",
        top='"""Top."""\nfrom reluformer.low import one\n\n\ndef two():\n    return one() + 1\n',
    )
    source = flatten(
        "reluformer.top",
        {("reluformer.low", "one"): "from reluformer.other import NINE\n\n\ndef one():\n    return NINE\n"},
    )
    space: dict = {}
    exec(source, space)
    assert space["two"]() == 10 and "json" not in source


@pytest.mark.parametrize(
    ("top", "message"),
    [
        ("from reluformer import low\nX = low.one\n", "imported as a whole"),
        ("from reluformer.low import one as uno\nX = uno\n", "imported as uno"),
        ("from reluformer.low import one\nfrom reluformer.twin import two\nX = one, two\n", "both in"),
    ],
)
def test_what_cannot_be_written_into_one_file_is_refused(package, monkeypatch, top, message):
    with pytest.raises(FlattenError, match=message):
        package(low="HALF = 1\n\n\ndef one():\n    return HALF\n", twin="HALF = 2\n\n\ndef two():\n    return HALF\n")
        modules = flattening.read_module.__self__
        modules["reluformer"] = Module("reluformer", "")
        modules["reluformer.top"] = Module("reluformer.top", f'"""Top."""\n{top}')
        flatten("reluformer.top")
