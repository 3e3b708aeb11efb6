import json

from reluformer.paper.provenance import provenance


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
