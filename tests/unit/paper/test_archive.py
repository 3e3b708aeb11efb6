import hashlib
import os
import subprocess
import zipfile

import pytest

from reluformer.config.settings import SettingsError
from reluformer.paper.archive import MANIFEST, checksum_file, pack_archive


@pytest.fixture
def pack(tmp_path):
    """Packs a synthetic experiment; returns the archive's path and what was left out."""

    def pack(example, name="archive.zip", **options):
        output = tmp_path / "out" / name
        return output, pack_archive(example.experiment, example.results, tmp_path / "logs", output, **options)

    return pack


def names_in(path):
    with zipfile.ZipFile(path) as archive:
        return set(archive.namelist())


def readme_of(path):
    with zipfile.ZipFile(path) as archive:
        return archive.read("README.txt").decode()


def test_sha256sum_finds_every_file_as_the_manifest_lists_it(scored, pack, tmp_path):
    path, _ = pack(scored())
    with zipfile.ZipFile(path) as archive:
        archive.extractall(tmp_path / "unpacked")
        listed = archive.read(MANIFEST).decode().splitlines()
    assert {line.split("  ", 1)[1] for line in listed} == names_in(path) - {MANIFEST}
    subprocess.run(["sha256sum", "--check", "--strict", "--quiet", MANIFEST], cwd=tmp_path / "unpacked", check=True)
    assert "TOY" in readme_of(path)
    assert checksum_file(path).read_text() == f"{hashlib.sha256(path.read_bytes()).hexdigest()}  archive.zip\n"


def test_everything_behind_the_results_is_packed(scored, pack):
    example = scored()
    names = names_in(pack(example)[0])
    run = next(iter(example.experiment.runs)).path
    wanted = [f"results/runs/{run}/{file}" for file in ("config.yaml", "hypotheses.jsonl", "scores.json", "log.jsonl")]
    wanted += [f"results/paper/tables/ffn-activation.{form}" for form in ("csv", "tex", "html")]
    wanted += ["results/paper/claims.json", "results/paper/figures/ffn-activation-bleu.pdf", f"logs/train/{run}.log"]
    wanted += ["results/paper/provenance.json", "experiment.json", "config/studies.yaml"]
    wanted += ["config/datasets/some-sentences.yaml", "results/corpora/some-sentences/raw/test.en"]
    assert set(wanted) <= set(names)


def test_the_tuning_is_packed_with_the_small_files_of_its_runs(make, pack):
    tuning = {"seed": 9, "datasets": {"sentences": "sentences"}, "grid": {"transformer": {"learning_rate": [0.001]}}}
    example = make(only=["ffn-activation"], training={"validate_bleu": True}, tuning=tuning)
    for run in (*example.experiment.runs, *example.experiment.tuning.runs()):
        example.write(run)
    (example.results / "tuning" / "some-sentences").mkdir(parents=True)
    (example.results / "tuning" / "some-sentences" / "transformer.json").write_text("{}")
    names = names_in(pack(example)[0])
    run = "results/runs/some-sentences/transformer+learning_rate=0.001/seed9"
    assert {"results/tuning/some-sentences/transformer.json", f"{run}/summary.json", f"{run}/log.jsonl"} <= set(names)
    assert f"{run}/scores.json" not in names


def test_the_same_results_give_the_same_bytes(scored, pack):
    example = scored()
    first, _ = pack(example)
    for file in example.results.rglob("*"):
        os.utime(file, (1, 1))
    second, _ = pack(example, "again.zip")
    assert first.read_bytes() == second.read_bytes()


def test_text_without_permission_to_redistribute_is_left_out_and_reported(scored, pack):
    example = scored(redistribute=False)
    path, left_out = pack(example)
    assert not [name for name in names_in(path) if "/raw/" in name or ".tok." in name]
    assert any("some-sentences: the test text is left out" in line for line in left_out)
    assert "the test text is left out" in readme_of(path)
    assert any("/raw/" in name for name in names_in(pack(example, references=True)[0]))


def test_models_are_packed_on_request(scored, pack):
    example = scored()
    for run in example.experiment.runs:
        (example.folder(run) / "model.safetensors").write_bytes(b"weights")
    assert not any(name.endswith("safetensors") for name in names_in(pack(example)[0]))
    path, left_out = pack(example, models=True)
    assert sum(name.endswith("safetensors") for name in names_in(path)) == 3
    assert not any("models are left out" in line for line in left_out)


def test_missing_runs_are_reported_and_an_empty_archive_is_refused(scored, make, pack):
    example = scored()
    run = next(iter(example.experiment.runs))
    (example.folder(run) / "summary.json").unlink()
    assert "1 of 3 runs do not exist yet." in pack(example)[1]
    with pytest.raises(SettingsError, match="nothing to archive"):
        pack_archive(make().experiment, example.results / "none", example.results, example.results / "a.zip")
