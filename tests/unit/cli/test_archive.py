import zipfile


def test_a_broken_archive_ends_with_code_1_and_none_with_2(run, tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("ro-crate-metadata.json", '{"@graph": []}')
        archive.writestr("extra", "x")
    result = run("verify", str(path))
    assert result.returncode == 1 and "FAULT extra: not in the manifest" in result.stdout
    assert run("verify", str(tmp_path / "none.zip")).returncode == 2


def test_without_a_run_there_is_nothing_to_archive(run, tmp_path):
    result = run("archive", "--results", str(tmp_path), "--output", str(tmp_path / "a.zip"))
    assert result.returncode == 2 and "nothing to archive" in result.stderr
