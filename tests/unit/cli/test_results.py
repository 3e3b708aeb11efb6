import zipfile

import pytest
import yaml
from tests.unit.paper.conftest import make, scored  # noqa: F401  (fixtures)

from reluformer.cli.main import run


@pytest.fixture
def folder(scored, tmp_path, monkeypatch):  # noqa: F811
    """A folder with the configuration and results of a synthetic experiment."""
    synthetic = scored()
    monkeypatch.chdir(tmp_path)
    config = synthetic.experiment.config.model_dump(mode="json")
    (tmp_path / "config" / "config.yaml").write_text(yaml.safe_dump({**config, "record": "record/made-up"}), "utf-8")
    return tmp_path


@pytest.mark.slow
def test_a_record_is_taken_and_checked(folder, capsys):
    assert run(["record"]) == 0
    assert "record/made-up: 3 runs added, 0 already there" in capsys.readouterr().out
    assert (folder / "record" / "made-up" / "README.md").is_file()
    assert run(["record"]) == 0
    assert "0 runs added, 3 already there" in capsys.readouterr().out
    assert run(["record", "--check", "--paper", "out"]) == 0
    assert "record/made-up: recomputed scores, p-values, tables and verdicts match the committed ones" in (
        capsys.readouterr().out
    )
    assert (folder / "out" / "made-up" / "tables" / "ffn-activation.html").is_file()
    table = folder / "record" / "made-up" / "paper" / "tables" / "ffn-activation.csv"
    table.write_text("other\n", "utf-8")
    assert run(["record", "--check"]) == 1
    assert "DIFFERS record/made-up/paper/tables/ffn-activation.csv: line 1: 'other' in the record" in (
        capsys.readouterr().out
    )


def test_a_missing_file_is_a_one_line_error(folder, capsys):
    assert run(["record", "--check"]) == 2
    assert "record: no record found" in capsys.readouterr().err
    config = folder / "config" / "config.yaml"
    config.write_text(config.read_text("utf-8").replace("record: record/made-up", "record: null"), "utf-8")
    assert run(["record"]) == 2
    assert "name the record's folder (--output record/NAME)" in capsys.readouterr().err


@pytest.mark.slow
def test_a_broken_archive_exits_with_1_and_a_missing_one_with_2(run, tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("SHA256SUMS", "")
        archive.writestr("extra", "x")
    result = run("verify", str(path))
    assert result.returncode == 1 and "FAULT extra: not in the manifest" in result.stdout
    assert run("verify", str(tmp_path / "none.zip")).returncode == 2


def test_without_a_run_there_is_nothing_to_archive(run, tmp_path):
    result = run("archive", "--results", str(tmp_path), "--output", str(tmp_path / "a.zip"))
    assert result.returncode == 2 and "nothing to archive" in result.stderr
