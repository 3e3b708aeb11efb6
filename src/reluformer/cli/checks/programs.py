"""Programs beside Python: the compiler, SLURM, and what only looks at the results."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

from reluformer.cli.checks.check import Check, last_line, run
from reluformer.ops.build import FLAGS

SECONDS = 10.0
LETTERS = "γλ√≥–"
FONT = f"""
import json
from matplotlib import font_manager, ft2font
path = font_manager.findfont(font_manager.FontProperties(), fallback_to_default=False)
font = ft2font.FT2Font(path)
print(json.dumps([font.family_name, "".join(c for c in {LETTERS!r} if ord(c) not in font.get_charmap())]))
"""
PROGRAM = "#include <omp.h>\n#include <span>\nint f(std::span<int> v) { return omp_get_max_threads() + v[0]; }\n"


def compiler() -> Check:
    """The C++ compiler that builds the kernels ($CXX, or the first on the PATH), tried with the kernels' own flags."""
    what = "compiled kernels (attention, search) and DeepSpeed's exchange through shared memory"
    mend = "install g++ (Debian: apt install g++; RHEL: dnf install gcc-c++; cluster: module load gcc)"
    means = f"no {what}: everything runs all the same, on plain torch, more slowly"
    path = os.environ.get("CXX") or next(filter(None, map(shutil.which, ("g++", "clang++", "c++"))), None)
    if path is None:
        return Check("compiler", "missing", "no g++ on the PATH", means, mend)
    with tempfile.TemporaryDirectory(prefix="reluformer-") as folder:
        source = Path(folder) / "a.cpp"
        source.write_text(PROGRAM, encoding="ascii")
        built = run([*path.split(), *FLAGS, "-o", str(source.with_suffix(".so")), str(source)], SECONDS)
    if built.code != 0:
        return Check("compiler", "warn", f"{path} does not compile: {last_line(built)}", means, mend)
    version = run([*path.split(), "-dumpversion"], SECONDS).output.strip()
    if shutil.which("ninja") is None and importlib.util.find_spec("ninja") is None:
        return Check("compiler", "warn", f"{path} {version}, no ninja", means, "pip install -r requirements.txt")
    return Check("compiler", "ok", f"{path} {version}, ninja", f"for {what}, built at first use")


def slurm() -> Check:
    """SLURM's controller, asked by sinfo."""
    means = "no jobs on a cluster from this machine; all else runs here"
    if shutil.which("sinfo") is None:
        mend = "only for a cluster: work on its login node, where sinfo and sbatch are (docs/slurm.md)"
        return Check("SLURM", "missing", "no sinfo on the PATH", means, mend)
    asked = run(["sinfo", "--noheader", "--format=%P %D %G"], SECONDS)
    if asked.code != 0:
        mend = "only for a cluster: `scontrol ping` says whether its controller is up; ask its administrators"
        return Check("SLURM", "warn", f"sinfo fails: {last_line(asked)}", means, mend)
    partitions = [line.split()[0] for line in asked.output.splitlines() if line.strip()]
    return Check("SLURM", "ok", f"partitions {', '.join(partitions)}", "snakemake --profile workflow/profiles/slurm")


def latex() -> Check:
    """Whether the tables in LaTeX can be set here."""
    path = shutil.which("pdflatex") or shutil.which("lualatex") or shutil.which("tectonic")
    if path is None:
        means = "the tables are written in LaTeX all the same; they cannot be set here"
        return Check("LaTeX", "missing", "no pdflatex", means, "optional: apt install texlive-latex-extra")
    return Check("LaTeX", "ok", path, "sets results/paper/tables/*.tex (they need booktabs)")


def chromium() -> Check:
    """A browser without a window, for the tests of the report."""
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        means = "the report opens in any browser; its browser tests are skipped"
        return Check("chromium", "missing", "not on the PATH", means, "optional: apt install chromium")
    return Check("chromium", "ok", path, "runs the browser tests of the report")


def fonts() -> Check:
    """The figures' font, as matplotlib finds it; with the letters that the figures use."""
    asked = run([sys.executable, "-c", FONT], 4 * SECONDS)
    if asked.code != 0:
        means, mend = "figures cannot be drawn", "pip install -r requirements.txt: matplotlib brings DejaVu Sans"
        return Check("fonts", "missing", last_line(asked), means, mend, needed=True)
    font, absent = json.loads(asked.output)
    if absent:
        mend = "remove font.sans-serif from your matplotlibrc, or install DejaVu Sans"
        return Check("fonts", "warn", f"{font} lacks {absent}", "figures have boxes for these letters", mend)
    return Check("fonts", "ok", font, f"has what the figures write, {LETTERS} among it")
