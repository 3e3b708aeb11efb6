"""Tables and figures in a paper, compiled by LaTeX."""

import re
import shutil
import subprocess
from xml.etree import ElementTree

import pytest

from reluformer.paper.study import draw_figures, write_tables

STUDIES = ("measures", "gamma", "memory-size")
PAPER = r"""\documentclass{article}
\usepackage[T1]{fontenc}
\usepackage{booktabs,graphicx}
\begin{document}
%s
See Tables %s.
\end{document}
"""


@pytest.fixture
def paper(make):
    """A folder with the tables and figures of some studies."""
    example = make(toy=True)
    example.fill(*STUDIES)
    for study in STUDIES:
        write_tables(example.experiment, study, example.results)
    draw_figures(example.experiment, "gamma", example.results)
    return example.results / "paper"


@pytest.mark.slow
def test_figures_are_vectors(paper):
    for path in (paper / "figures").glob("*.pdf"):
        assert path.read_bytes().startswith(b"%PDF") and b"/Subtype /Image" not in path.read_bytes()
    for path in (paper / "figures").glob("*.svg"):
        tags = {element.tag.rpartition("}")[2] for element in ElementTree.parse(path).iter()}
        assert "path" in tags and "image" not in tags


@pytest.mark.slow
def test_every_line_of_a_table_has_its_columns(paper):
    for study in STUDIES:
        text = (paper / "tables" / f"{study}.tex").read_text(encoding="utf-8")
        columns = re.search(r"\\begin\{tabular\}\{([lrc]+)\}", text)[1]
        rows = [line for line in text.splitlines() if line.endswith(r"\\")]
        assert len(rows) > 2 and all(len(re.findall(r"(?<!\\)&", row)) == len(columns) - 1 for row in rows)
        assert not re.search(r"(?<!\\)[%#_](?!$)", text.replace("{%\n", "").replace(r"\label{tab:" + study + "}", ""))


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_a_paper_with_tables_and_figures_compiles(paper):
    tables = "\n".join(rf"\input{{tables/{study}.tex}}" for study in STUDIES)
    figures = "\n".join(
        rf"\noindent\includegraphics[width=\linewidth]{{figures/{path.name}}}"
        for path in (paper / "figures").glob("*.pdf")
    )
    labels = ", ".join(rf"\ref{{tab:{study}}}" for study in STUDIES)
    (paper / "paper.tex").write_text(PAPER % (tables + "\n" + figures, labels), encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    for _ in range(2):  # the second resolves the references
        result = subprocess.run(command, cwd=paper, capture_output=True, text=True)
        assert result.returncode == 0, result.stdout[-3000:]
    assert (paper / "paper.pdf").stat().st_size > 10_000
    assert "undefined" not in result.stdout and "Overfull \\hbox" not in result.stdout
