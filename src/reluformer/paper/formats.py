"""Tables as text: Markdown and LaTeX."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd
from tabulate import tabulate

TEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "†": r"$\dagger$",
    "α": r"$\alpha$",
    "×": r"$\times$",
    "|": r"$|$",
    "Σ": r"$\Sigma$",
    "γ": r"$\gamma$",
    "λ": r"$\lambda$",
    "∈": r"$\in$",
    "≥": r"$\geq$",
    "≤": r"$\leq$",
    "−": r"$-$",
    "≈": r"$\approx$",
    "√": r"$\surd$",
    "“": "``",
    "”": "''",
    "’": "'",
    "–": "--",
}


def markdown(
    title: str, table: pd.DataFrame, lines: Sequence[str], more: Mapping[str, pd.DataFrame] | None = None
) -> str:
    """A table under its title, the lines under it, and more tables under theirs, as Markdown."""
    parts = [f"# {title}", pipe_table(table), *lines]
    for heading, one in (more or {}).items():
        parts += [f"## {heading}", pipe_table(one)]
    return "\n\n".join(parts) + "\n"


def pipe_table(table: pd.DataFrame) -> str:
    """A table as Markdown alone."""
    rows = [[str(cell).replace("|", "\\|") for cell in row] for row in table.itertuples(index=False)]
    return tabulate(rows, headers=list(table.columns), tablefmt="pipe", disable_numparse=True)


def latex(label: str, title: str, table: pd.DataFrame, lines: Sequence[str]) -> str:
    """A floating table for LaTeX, labelled `tab:LABEL`, with the lines under it; no wider than a line of the paper.

    Needs the packages booktabs and graphicx.
    """
    escaped = table.astype(str).map(escape_tex).rename(columns=escape_tex)
    body = escaped.to_latex(index=False, escape=False).rstrip()
    notes = "".join(f"\n\\par\\smallskip{{\\footnotesize {escape_tex(line)}\\par}}" for line in lines)
    head = f"\\begin{{table}}\n\\centering\n\\caption{{{escape_tex(title)}}}\n\\label{{tab:{label}}}\n"
    fitted = f"\\resizebox{{\\ifdim\\width>\\linewidth\\linewidth\\else\\width\\fi}}{{!}}{{%\n{body}}}"
    return f"{head}{fitted}{notes}\n\\end{{table}}\n"


def escape_tex(text: str) -> str:
    """`text` with LaTeX's special characters escaped and the project's symbols as mathematics."""
    return "".join(TEX.get(character, character) for character in str(text))
