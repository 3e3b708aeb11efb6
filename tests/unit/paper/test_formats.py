import pandas as pd

from reluformer.paper.formats import escape_tex, latex, markdown, pipe_table

TABLE = pd.DataFrame({"system": ["A & B", "C|D"], "share": ["50% ± 1%", "not run"]})


def test_markdown_keeps_cells_as_they_are():
    text = markdown("A title", TABLE, ["A note."])
    lines = text.splitlines()
    assert lines[0] == "# A title" and text.endswith("A note.\n")
    assert [cell.strip() for cell in lines[4].strip("|").split("|")] == ["A & B", "50% ± 1%"]
    assert "C\\|D" in pipe_table(TABLE)


def test_latex_is_escaped_and_labelled():
    text = latex("my-study", "100 % of γ", TABLE, ["x_1 ≤ 2"])
    assert "\\label{tab:my-study}" in text and "\\caption{100 \\% of $\\gamma$}" in text
    assert "A \\& B & 50\\% $\\pm$ 1\\% \\\\" in text and "x\\_1 $\\leq$ 2" in text
    assert "\\resizebox{\\ifdim\\width>\\linewidth" in text and "\\toprule" in text
    assert text.count("\\begin{") == text.count("\\end{") == 2
    assert all(ord(character) < 128 for character in text)


def test_a_backslash_is_not_escaped_twice():
    assert escape_tex("\\{") == r"\textbackslash{}\{"
