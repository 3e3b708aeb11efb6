from __future__ import annotations

import pytest

from reluformer.cli.checks.machine import GB, cores, disk, memory


@pytest.mark.parametrize(("gigabytes", "state"), [(1, "missing"), (8, "warn"), (64, "ok")])
def test_memory(gigabytes, state):
    check = memory(gigabytes * GB)
    assert check.state == state and f"{gigabytes}.0 GB" in check.found
    assert bool(check.mend) == (state != "ok")


@pytest.mark.parametrize(
    ("gigabytes", "toy", "state"), [(0, True, "missing"), (5, True, "ok"), (5, False, "warn"), (500, False, "ok")]
)
def test_disk_needed_against_free(tmp_path, gigabytes, toy, state):
    check = disk(tmp_path, toy, gigabytes * GB)
    assert check.state == state and check.needed == (state == "missing")


def test_this_machine(tmp_path, monkeypatch):
    assert "GB free" in memory().found and "GB free" in disk(tmp_path, toy=True).found
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {3})
    assert cores().state == "warn" and cores().mend
