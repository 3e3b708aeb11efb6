import json
import random
import shutil
import zipfile

import pytest

from reluformer.config.settings import SettingsError
from reluformer.paper.archive import MANIFEST, checksum_file, pack_archive, verify_archive
from reluformer.paper.record import changes

KINDS = (
    ".csv",
    ".md",
    ".tex",
    ".html",
    ".svg",
    ".pdf",
    ".png",
    ".npz",
    ".log",
    "log.jsonl",
    "hypotheses.jsonl",
    "scores.json",
    "config.yaml",
    "claims.json",
    "studies.yaml",
    "test.en",
)


@pytest.fixture
def packed(scored, tmp_path):
    """Packs a valid archive; returns its experiment and its path."""

    def pack(**options):
        example = scored(**options)
        pack_archive(example.experiment, example.results, tmp_path / "logs", tmp_path / "archive.zip")
        return example, tmp_path / "archive.zip"

    return pack


def rewrite(path, target, change):
    """Copies an archive with files replaced by `change(name, content)` (None: removed), without a checksum file."""
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(target, "w") as archive:
        for name in source.namelist():
            content = change(name, source.read(name))
            if content is not None:
                archive.writestr(name, content)
    return target


def flipped(content, at):
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


def test_a_valid_archive_passes_and_its_scores_are_reproduced(packed):
    check = verify_archive(packed()[1])
    assert check.faults == [] and check.scored == 3 and check.unscored == 0 and check.files > 40


def test_one_flipped_byte_in_any_kind_of_file_is_found(packed, tmp_path):
    path = packed()[1]
    for kind in KINDS:
        with zipfile.ZipFile(path) as archive:
            name = next(name for name in archive.namelist() if name.endswith(kind))
        at = random.Random(kind)

        def flip(member, content, name=name, at=at):
            return flipped(content, at.randrange(len(content))) if member == name else content

        faults = verify_archive(rewrite(path, tmp_path / "flipped.zip", flip)).faults
        assert faults == [f"{name}: does not match the manifest"], kind


def test_one_flipped_byte_anywhere_in_the_zip_is_found(packed, tmp_path):
    path = packed()[1]
    content, at = path.read_bytes(), random.Random(1)
    other = tmp_path / "other.zip"
    shutil.copy(checksum_file(path), checksum_file(other))
    places = [0, len(content) - 1, *(at.randrange(len(content)) for _ in range(30))]
    for place in places:
        other.write_bytes(flipped(content, place))
        try:
            assert verify_archive(other).faults, place
        except SettingsError as error:
            assert "zip" in str(error) or MANIFEST in str(error)


def test_missing_and_extra_files_are_found(packed, tmp_path):
    path = packed()[1]
    gone = "results/paper/claims.json"
    faults = verify_archive(rewrite(path, tmp_path / "a.zip", lambda n, c: None if n == gone else c)).faults
    assert faults == [f"{gone}: missing"]
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("results/more.txt", "more")
    assert "results/more.txt: not in the manifest" in verify_archive(path).faults


def test_a_file_with_a_path_outside_the_archive_is_named(packed, tmp_path):
    def change(name, content):
        return content + b"0" * 64 + b"  ../elsewhere.csv\n" if name == MANIFEST else content

    faults = verify_archive(rewrite(packed()[1], tmp_path / "x.zip", change)).faults
    assert "../elsewhere.csv: leads out of the archive" in faults


def test_wrong_scores_are_found_although_the_manifest_matches(scored, tmp_path):
    example = scored()
    run = next(iter(example.experiment.runs))
    path = example.folder(run) / "scores.json"
    scores = json.loads(path.read_text(encoding="utf-8"))
    scores["metrics"]["bleu"]["score"] += 0.5
    path.write_text(json.dumps(scores), encoding="utf-8")
    pack_archive(example.experiment, example.results, tmp_path / "logs", tmp_path / "archive.zip")
    faults = verify_archive(tmp_path / "archive.zip").faults
    assert len(faults) == 1 and f"{run.path}/scores.json: metrics.bleu.score: " in faults[0]


def test_without_the_test_text_scores_are_not_computed_unless_the_corpus_is_here(packed):
    example, path = packed(redistribute=False)
    check = verify_archive(path)
    assert check.faults == [] and check.scored == 0 and check.unscored == 3
    assert verify_archive(path, example.results / "corpora").scored == 3


def test_an_invalid_archive_is_a_one_line_error(tmp_path):
    with pytest.raises(SettingsError, match="there is no such file"):
        verify_archive(tmp_path / "none.zip")
    (tmp_path / "a.zip").write_text("text")
    with pytest.raises(SettingsError, match="not a zip file"):
        verify_archive(tmp_path / "a.zip")
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        archive.writestr("x", "y")
    with pytest.raises(SettingsError, match="not an archive of results"):
        verify_archive(tmp_path / "b.zip")


def test_changes_are_named_and_rounding_is_ignored():
    assert changes({"a": [1.0, {"b": "x"}]}, {"a": [1.0 + 1e-9, {"b": "x"}]}) == []
    assert changes({"a": [1, 2]}, {"a": [1, 3]}) == ["a[1]: 2 in the archive, computed 3"]
    assert changes({"a": 1}, {}) == ["a: 1 in the archive, computed None"]
