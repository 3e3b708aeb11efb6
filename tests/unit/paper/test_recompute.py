import json
import re
import shutil
from pathlib import Path

import pytest
from tests.unit.paper.conftest import score

from reluformer.config.settings import SettingsError, read_json
from reluformer.evaluation.bleu import read_counts, write_counts
from reluformer.paper import recompute
from reluformer.paper.quotes import fill, quoting_pages, readme
from reluformer.paper.recompute import check_record, read_experiment, update_paper
from reluformer.paper.record import take

ROOT = Path(__file__).parents[3]
pytestmark = pytest.mark.slow

RECORDS = sorted(path.parent for path in (ROOT / "record").glob("*/experiment.json"))


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A record of three runs, with its tables."""
    root = tmp_path_factory.mktemp("scored")
    example = score(root)
    take(example.experiment, example.results, root / "record")
    update_paper(example.experiment, root / "record")
    return root / "record"


@pytest.fixture
def record(original, tmp_path):
    """A copy of `original`."""
    return shutil.copytree(original, tmp_path / "record")


def test_everything_is_recomputed_and_equals_the_record(record, tmp_path):
    assert check_record(record, tmp_path / "again") == []
    paper = tmp_path / "again" / "paper"
    assert (paper / "claims.json").is_file() and (paper / "significance" / "ffn-activation.json").is_file()
    assert list((paper / "figures").glob("*.svg"))
    names = {path.name for path in (record / "paper").rglob("*") if path.is_file()}
    assert {"ffn-activation.csv", "ffn-activation-differences.csv", "ffn-activation.md", "claims.json"} <= names
    assert "ffn-activation-bleu.svg" in names and not any(name.endswith((".png", ".html", ".tex")) for name in names)


def test_figures_and_the_readme_are_reproducible_and_stale_tables_are_removed(record):
    files = [record / "README.md", *(record / "paper" / "figures").glob("*.svg")]
    before = {path: path.read_bytes() for path in files}
    (record / "paper" / "tables" / "old.csv").write_text("", "utf-8")
    update_paper(read_experiment(record), record)
    assert {path: path.read_bytes() for path in files} == before and len(files) > 3
    assert not (record / "paper" / "tables" / "old.csv").exists()


def test_an_edited_readme_or_a_missing_figure_is_named(record, tmp_path):
    (record / "README.md").write_text("edited", "utf-8")
    (record / "paper" / "figures" / "ffn-activation-bleu.svg").unlink()
    assert check_record(record, tmp_path / "again") == [
        "paper/figures/ffn-activation-bleu.svg: not in the record",
        "README.md: not what `reluformer record` writes",
    ]


def test_a_page_quotes_the_record_and_an_edited_quotation_is_named(record, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs").mkdir()
    record = record.rename(tmp_path / "made-up")
    (tmp_path / "record").mkdir()
    record = record.rename(tmp_path / "record" / "made-up")
    page = tmp_path / "docs" / "results.md"
    names = (
        *("runs", "claims", "claims ffn-activation", "claim ffn-activation", "table ffn-activation", "tuning", "text"),
        *(
            "figure ffn-activation-bleu",
            "systems ffn-activation+ffn-activation tokenized_bleu best_valid_loss",
            "compute",
        ),
    )
    quotations = [f"of <!-- record/made-up: {name} -->stale<!-- end -->\n" for name in names]
    page.write_text("".join([*quotations, "<!-- record/other: runs -->1<!-- end -->\n"]), "utf-8")
    experiment = read_experiment(record)
    update_paper(experiment, record)
    text = page.read_text("utf-8")
    assert "stale" not in text and "<!-- record/other: runs -->1<!-- end -->" in text
    assert "<!-- record/made-up: runs -->0 of 0 tuning runs and 3 of 3 runs<!-- end -->" in text
    assert "](../record/made-up/paper/tables/ffn-activation.md)" in text
    assert "](../record/made-up/paper/figures/ffn-activation-bleu.svg)" in text
    table = (record / "paper" / "tables" / "ffn-activation.md").read_text("utf-8")
    assert table.splitlines()[4] in text  # a row
    assert "|\n\n| system " in text  # the differences are a separate table
    scores = read_json(next(record.glob("runs/*/ffn-softmax/seed1")) / "scores.json")
    row = rf"\| Softmax in the FFN +\| 1 of 1 +\| {scores['metrics']['tokenized_bleu']['score']:.2f} +\| \d\.\d\d +\|"
    assert len(re.findall(row, text)) == 1
    assert "3 trainings" in text
    edited = page.with_name("edited.md")
    edited.write_text(text.replace("3 of 3 runs", "30 of 30 runs"), "utf-8")
    (fault,) = check_record(Path("record/made-up"), tmp_path / "again")
    assert "edited.md does not quote it as it is" in fault
    for unknown in ("tabel x", "claims no-such-study", "systems no-such-study bleu"):
        page.write_text(f"<!-- record/made-up: {unknown} --><!-- end -->", "utf-8")
        with pytest.raises(SettingsError, match=f"'{unknown}': the record has nothing of this name"):
            fill(page, experiment, record)


def test_one_segments_counts_change_scores_and_tables(record, tmp_path):
    path = next(record.glob("runs/*/ffn-softmax/seed1")) / "counts.npz"
    counts = read_counts(path)
    counts["tokenized_bleu"][0, 2:6] -= 1
    write_counts(path, counts)
    faults = check_record(record, tmp_path / "again")
    assert any("ffn-softmax/seed1/scores.json: metrics.tokenized_bleu.score" in fault for fault in faults)
    assert any(fault.startswith("paper/tables/ffn-activation.csv: line 3: ") for fault in faults)
    assert any(fault.startswith("paper/tables/ffn-activation-differences.csv") for fault in faults)
    update_paper(read_experiment(record), record)
    after = check_record(record, tmp_path / "after")
    assert after and all("ffn-softmax/seed1/scores.json: " in fault for fault in after)  # the only witness left


def test_a_score_that_recorded_runs_lack_is_added(record, tmp_path):
    path = next(record.glob("runs/*/ffn-softmax/seed1")) / "scores.json"
    before = path.read_text("utf-8")
    scores = json.loads(before)
    del scores["metrics"]["chrf"]
    path.write_text(json.dumps(scores), "utf-8")
    update_paper(read_experiment(record), record)
    assert path.read_text("utf-8") == before
    assert check_record(record, tmp_path / "again") == []


def test_a_changed_or_missing_table_is_named(record, tmp_path):
    tables = record / "paper" / "tables"
    table = tables / "ffn-activation.csv"
    table.write_text(table.read_text("utf-8").replace("transformer", "transfermer"), "utf-8")
    (tables / "ffn-activation.md").unlink()
    (tables / "old.csv").write_text("", "utf-8")
    faults = check_record(record, tmp_path / "again")
    assert [fault.split(": ")[:2] for fault in faults] == [
        ["paper/tables/ffn-activation.csv", "line 2"],
        ["paper/tables/ffn-activation.md", "not in the record"],
        ["paper/tables/old.csv", "no longer built"],
    ]


def test_a_folder_that_is_no_record_is_named(tmp_path):
    with pytest.raises(SettingsError, match=r"experiment\.json: there is no such file; `reluformer record` writes it"):
        read_experiment(tmp_path)
    (tmp_path / "experiment.json").write_text("{}", "utf-8")
    with pytest.raises(SettingsError, match="not the experiment of a record"):
        read_experiment(tmp_path)


@pytest.mark.parametrize("folder", RECORDS, ids=lambda folder: folder.name)
def test_the_tables_of_the_repositorys_records_are_those_committed(folder, tmp_path, monkeypatch):
    def as_committed(experiment, what, results):  # drawing is slow; `make record` does it
        shutil.copytree(folder / "paper" / "figures", results / "paper" / "figures", dirs_exist_ok=True)

    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(recompute, "draw_figures", as_committed)
    monkeypatch.setattr(recompute, "draw_tuning", as_committed)
    assert check_record(folder, tmp_path) == []
    assert (folder / "README.md").read_text("utf-8") == readme(read_experiment(folder), folder)
    pages = (ROOT / "README.md", ROOT / "record" / "README.md", *(ROOT / "docs").glob("*.md"))
    quoting = {page for page in pages if f"<!-- record/{folder.name}: " in page.read_text("utf-8")}
    assert {page.resolve() for page in quoting_pages(folder)} == quoting != set()
    for page in pages:
        assert page.read_text("utf-8") == fill(page, read_experiment(folder), folder), page
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) < 40e6
