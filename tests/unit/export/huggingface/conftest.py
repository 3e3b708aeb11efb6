"""An exported folder, used in a separate folder and a separate virtual environment with transformers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from filelock import FileLock

HERE = Path(__file__).parent
ODD = ["Yksi </s> kaksi <sent> <pad> <unk> .", "yksi’kaksi & <b>  »kolme« … 3,5 %", "ÄITI ö 中文 \u00a0 kaksi", "  "]


@pytest.fixture(scope="session")
def odd() -> list[str]:
    """Lines that are hard to tokenise."""
    return ODD


@pytest.fixture(scope="session")
def elsewhere(trained, tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> dict:
    """The output of `elsewhere.py` in a temporary environment; skips if the environment cannot be created."""
    shared = tmp_path_factory.getbasetemp() if worker_id == "master" else tmp_path_factory.getbasetemp().parent
    folder, record = shared / "elsewhere", shared / "elsewhere.json"
    with FileLock(shared / "elsewhere.lock"):
        if not record.is_file():
            try:
                record.write_text(json.dumps(make(trained, folder)), encoding="utf-8")
            finally:
                shutil.rmtree(folder / "venv", ignore_errors=True)
    report = json.loads(record.read_text(encoding="utf-8"))
    if "skip" in report:
        pytest.skip(report["skip"])
    return report


def lend(packages: Path, lent: Path, site: Path) -> None:
    """Makes the packages of this environment, except this project, visible in another, for pip and torch."""
    lent.mkdir()
    for path in packages.iterdir():
        if not path.name.startswith(("reluformer", "__editable__", "deepspeed", "entmax")):
            (lent / path.name).symlink_to(path)
    (site / "lent.pth").write_text(f"{lent}\n")


def make(trained, folder: Path) -> dict:
    from reluformer.export.folder import export_model

    folder.mkdir()
    export_model(trained.run, folder / "exported")
    (folder / "text").write_text("\n".join(trained.raw) + "\n", encoding="utf-8")
    (folder / "odd.json").write_text(json.dumps(ODD))
    page = (HERE.parents[3] / "docs" / "export.md").read_text(encoding="utf-8")
    (folder / "page.py").write_text(page.split("```python\n")[1].split("```")[0].replace("my-model", "exported"))
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "VIRTUAL_ENV", "HF_"))}
    environment = {**clean, "HF_HOME": str(folder / "hub"), "HF_HUB_OFFLINE": "1"}
    python = folder / "venv" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True)
    (site,) = (folder / "venv" / "lib").glob("python*/site-packages")
    lend(Path(sysconfig.get_path("purelib")), folder / "lent", site)
    pip = [python, "-m", "pip", "install", "--quiet", "--no-compile", "--disable-pip-version-check"]
    installed = subprocess.run([*pip, "-r", HERE / "requirements.txt"], env=environment, capture_output=True, text=True)
    if installed.returncode:
        reason = installed.stderr.strip().splitlines() or ["pip failed"]
        return {"skip": f"no environment with transformers: {reason[-1]}"}
    shutil.copy(HERE / "elsewhere.py", folder)
    script = [python, "elsewhere.py"]
    result = subprocess.run(script, cwd=folder, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-3000:]
    return json.loads(result.stdout.splitlines()[-1])
