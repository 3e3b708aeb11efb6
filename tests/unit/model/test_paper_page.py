"""docs/paper.md quotes the current code: every block is found, line for line, in the file named before it.

Indentation and empty lines are ignored, as Markdown formatters change them.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "paper.md").read_text(encoding="utf-8")


def lines(code):
    """Returns the code without indentation and empty lines, each line with its newline."""
    return "".join(f"{line.strip()}\n" for line in code.splitlines() if line.strip())


def blocks():
    file = None
    for name, code in re.findall(r"^`(src/\S+\.py)`$|^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL):
        file = name or file
        if code:
            yield file, code


@pytest.mark.parametrize(("file", "code"), list(blocks()))
def test_block_is_in_its_file(file, code):
    assert f"\n{lines(code)}" in lines((ROOT / file).read_text(encoding="utf-8"))


def test_both_numbered_equations_are_shown_with_code():
    for number in (6, 7):
        section = PAGE.split(f"## Eq. {number}", 1)[1].split("\n## ", 1)[0]
        assert "```python" in section


def test_names_in_the_table_exist():
    for path, names in re.findall(r"`((?:memory|tests)/\S+\.py): ([\w.]+)`", PAGE):
        source = (ROOT / (path if path.startswith("tests") else f"src/reluformer/{path}")).read_text(encoding="utf-8")
        assert all(re.search(rf"(class|def) {name}\b", source) for name in names.split("."))
    for test in re.findall(r"`(test_a_\w+)`", PAGE):
        assert any(f"def {test}(" in p.read_text(encoding="utf-8") for p in ROOT.glob("tests/unit/memory/*.py"))
