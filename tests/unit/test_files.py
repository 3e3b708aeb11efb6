"""Writes are atomic: a file has its old content or its complete new content."""

from __future__ import annotations

import errno
import json
import math
import os
import re
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from reluformer.files import (
    exclusive,
    find_files,
    replace,
    require_own_folder,
    write_by_content,
    write_json,
    write_text,
)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "new" / "a.json"
    write_json(path, {"größe": 1})
    with pytest.raises(ValueError, match="Out of range"):
        write_json(path, {"x": math.nan})

    def fails(temporary):
        assert temporary.parent == path.parent and temporary.suffix == ".json"
        temporary.write_text("half")
        raise OSError("no space")

    with pytest.raises(OSError, match="no space"):
        replace(path, fails)
    assert json.loads(path.read_text(encoding="utf-8")) == {"größe": 1}
    assert [p.name for p in path.parent.iterdir()] == ["a.json"]


def test_write_text_replaces_and_keeps_line_ends(tmp_path):
    path = tmp_path / "a"
    write_text(path, "one")
    write_text(path, "two\r\nthree\n")
    assert path.read_bytes() == b"two\r\nthree\n" and [p.name for p in tmp_path.iterdir()] == ["a"]


def test_a_file_is_as_readable_as_the_umask_says(tmp_path):
    before = os.umask(0o027)
    try:
        replace(tmp_path / "a", lambda temporary: os.close(os.open(temporary, os.O_CREAT | os.O_WRONLY, 0o600)))
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640


def test_a_file_by_content_is_named_by_nothing_else(tmp_path):
    path = write_by_content(tmp_path, {"b": 1, "a": "ä"}, write=False)
    assert not path.exists() and not any(tmp_path.iterdir())
    assert write_by_content(tmp_path, {"a": "ä", "b": 1}) == path
    assert json.loads(path.read_text(encoding="utf-8")) == {"a": "ä", "b": 1}
    assert write_by_content(tmp_path, {"a": "ä", "b": 2}) != path


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_link_stays_and_its_target_is_written(tmp_path):
    (tmp_path / "disk").mkdir()
    for name, target in (("link", "disk/real"), ("dangling", "disk/new"), ("chain", "link")):
        (tmp_path / name).symlink_to(target)
        write_text(tmp_path / name, name)
        assert (tmp_path / name).is_symlink() and (tmp_path / name).read_text() == name
    assert names(tmp_path / "disk") == ["new", "real"] and (tmp_path / "disk" / "real").read_text() == "chain"


def test_a_file_keeps_its_permissions(tmp_path):
    path = tmp_path / "script"
    path.touch()
    path.chmod(0o751)
    write_text(path, "text")
    assert path.stat().st_mode & 0o777 == 0o751


@pytest.mark.parametrize("streams", [True, False])
def test_a_named_pipe_is_written_into(tmp_path, streams):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with ThreadPoolExecutor(1) as pool:
        read = pool.submit(pipe.read_bytes)
        replace(pipe, lambda path: path.write_bytes(b"text"), streams=streams)
        assert read.result(timeout=600) == b"text"
    assert pipe.is_fifo() and names(tmp_path) == ["pipe"]


@pytest.mark.parametrize("name", ["-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
def test_standard_output_is_written_into_and_not_cut_short(name, capfd):
    os.write(1, b"before ")
    replace(Path(name), lambda path: path.write_text("text"))
    assert capfd.readouterr().out == "before text" and not Path("-").exists()


def test_a_device_stays_a_device(tmp_path):
    replace(Path("/dev/null"), lambda path: path.write_text("text"))
    assert Path("/dev/null").is_char_device()
    with pytest.raises(OSError, match="No space left"):
        write_text(Path("/dev/full"), "text")


@pytest.mark.parametrize("path", [".", "..", "/", "", "folder", "to-folder", "circle", "text/x", "socket"])
def test_an_impossible_output_path_is_refused_by_name(tmp_path, monkeypatch, path):
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    Path("to-folder").symlink_to("folder")
    Path("circle").symlink_to("circle")
    Path("text").write_text("text")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        before = names(tmp_path)
        with pytest.raises(OSError, match=re.escape(Path(path).parts[0] if Path(path).parts else ".")) as error:
            write_text(Path(path), "text")
        assert error.value.filename and names(tmp_path) == before and not any(Path("folder").iterdir())


def test_a_full_disk_names_the_file_and_leaves_the_old_one(tmp_path):
    path = tmp_path / "a"
    path.write_text("old")

    def full(temporary):
        temporary.write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space left") as error:
        replace(path, full)
    assert error.value.filename == str(path) and path.read_text() == "old" and names(tmp_path) == ["a"]


def test_a_name_of_maximum_length(tmp_path):
    path = tmp_path / ("n" * 250 + ".txt")
    write_text(path, "text")
    assert names(tmp_path) == [path.name]


@pytest.mark.parametrize(
    "name", ["a[1].fi", "*", "what?.fi", "it's", "$(touch pwned)", "-rf", "a;b", " ", "é 'x' \"y\""]
)
def test_glob_characters_in_names_are_literal(tmp_path, name):
    (tmp_path / "sub").mkdir()
    for other in ("a1.fi", "whatx.fi", "anything"):
        (tmp_path / other).touch()
    (tmp_path / "sub" / name).touch()
    assert find_files(tmp_path, name) == [tmp_path / "sub" / name]


def test_links_to_folders_are_followed_and_those_in_a_circle_once(tmp_path):
    archives, elsewhere = tmp_path / "archives", tmp_path / "elsewhere"
    archives.mkdir()
    (elsewhere / "deep").mkdir(parents=True)
    (elsewhere / "deep" / "a").touch()
    (elsewhere / "up").symlink_to(archives)
    (archives / "link").symlink_to(elsewhere)
    (archives / "gone").symlink_to("nowhere")
    assert find_files(archives, "a") == [archives / "link" / "deep" / "a"]


def test_one_process_at_a_time(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path)
    with exclusive(tmp_path / "corpus"):
        for same in (tmp_path / "corpus", tmp_path / "link" / "corpus"):
            with pytest.raises(BlockingIOError, match="another process is writing this"), exclusive(same):
                pass
        with exclusive(tmp_path / "other"):
            pass
    with exclusive(tmp_path / "corpus"):
        pass


@pytest.mark.parametrize("path", [".", "..", "/", "", "../{name}", "here"])
def test_the_working_folder_is_refused_as_output(tmp_path, monkeypatch, path):
    monkeypatch.chdir(tmp_path)
    Path("here").symlink_to(".")
    with pytest.raises(OSError, match="current folder or one of its parents"):
        require_own_folder(Path(path.format(name=tmp_path.name)))
    assert require_own_folder(Path("new")) == Path("new")
