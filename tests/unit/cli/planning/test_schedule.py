import pytest

from reluformer.cli.planning.schedule import Task, critical_path, makespan

CHAIN = [Task("a", 3, 1), Task("b", 2, 1, ("a",)), Task("c", 4, 1), Task("d", 1, 1, ("b", "c"))]


@pytest.mark.parametrize(("slots", "seconds"), [(1, 10), (2, 6), (9, 6)])
def test_the_last_job_ends_when_the_devices_are_done(slots, seconds):
    assert makespan(CHAIN, slots) == seconds


def test_a_wide_job_waits_for_room_and_is_never_wider_than_the_machine():
    tasks = [Task("a", 3, 1), Task("wide", 2, 5), Task("b", 3, 1)]
    assert makespan(tasks, 2) == 5 and makespan(tasks[1:2], 1) == 2


def test_a_job_that_holds_no_device_runs_beside():
    assert makespan([Task("a", 3, 1), Task("free", 3, 0)], 1) == 3


def test_the_critical_path_is_the_longest_chain():
    assert [task.name for task in critical_path(CHAIN)] == ["a", "b", "d"]
    assert sum(task.seconds for task in critical_path(CHAIN)) == makespan(CHAIN, 99)
    assert makespan([], 1) == 0 and critical_path([]) == []
