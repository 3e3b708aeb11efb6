import json

from reluformer.paper.provenance import provenance, write_readme
from reluformer.paper.record import take


def test_runs_say_what_they_were_trained_with_and_corpora_where_they_are_from(make):
    example = make(only=["anisotropy"])
    runs = example.experiment.study_runs("anisotropy")
    for number, run in enumerate(runs[:2]):
        example.write(run)
        path = example.folder(run) / "summary.json"
        summary = json.loads(path.read_text(encoding="utf-8"))
        summary |= {
            "code_version": f"c{number}",
            "versions": {"torch": "2"},
            "machine": {"cpu": "A CPU", "cores": 2, "gpus": ["G", "G"]},
            "data": {"some-sentences/subword.model": "ab"},
        }
        path.write_text(json.dumps(summary), encoding="utf-8")
    corpus = example.results / "corpora" / "some-sentences"
    corpus.mkdir(parents=True)
    archive = {"name": "a.whl", "published": ["https://x"], "sha256": "cd", "bytes": 9}
    (corpus / "provenance.json").write_text(json.dumps({"archives": [archive]}), encoding="utf-8")
    sources = provenance(example.experiment, example.results)
    assert sources["code"] == {"c0": 1, "c1": 1} and sources["packages"] == {"torch 2": 2}
    assert sources["machines"] == {"A CPU, 2 cores, 2 × G": 2}
    assert sources["archives"] == [{"corpus": "some-sentences", **archive}]
    assert sources["data"] == {"some-sentences/subword.model": "ab"}


def test_nothing_there_is_nothing_said(make):
    example = make(only=["anisotropy"])
    assert provenance(example.experiment, example.results) == {
        "code": {},
        "packages": {},
        "machines": {},
        "archives": [],
        "data": {},
    }


def test_the_readme_says_on_what_a_record_rests(scored, tmp_path):
    example, record = scored(), tmp_path / "record"
    take(example.experiment, example.results, record)
    statistics = record / "corpora" / "some-sentences" / "statistics.json"
    statistics.write_text('{"splits": {"train": {"pairs": 123886}}}', "utf-8")
    write_readme(example.experiment, record)
    text = (record / "README.md").read_text("utf-8")
    assert "# Record: Made up" in text and "TOY CONFIGURATION" in text
    assert "| some-sentences | finished and scored | 3 " in text
    assert "| some-sentences | train   | 123,886 " in text
    assert "unknown processor" in text  # of summaries without a machine
