from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from reluformer.corpus.parallel import Workers, chunks


def square(number: int) -> int:
    return number * number


def process(_: int) -> int:
    return os.getpid()


def fail(number: int) -> int:
    if number == 3:
        raise ValueError("three")
    return number


@pytest.mark.parametrize("count", [0, 1, 3])
def test_results_are_in_order(count: int) -> None:
    with Workers(count) as pool:
        assert list(pool.map(square, range(50))) == [n * n for n in range(50)]


def test_several_processes_work() -> None:
    with Workers(2) as pool:
        assert os.getpid() not in set(pool.map(process, range(8)))


def test_one_worker_is_this_process() -> None:
    with Workers(1) as pool:
        assert set(pool.map(process, range(3))) == {os.getpid()}


def test_reads_only_a_few_ahead() -> None:
    read = []

    def items() -> Iterator[int]:
        for number in range(1000):
            read.append(number)
            yield number

    with Workers(2) as pool:
        results = pool.map(square, items())
        next(results)
        assert len(read) <= 6


@pytest.mark.parametrize("count", [1, 2])
def test_an_error_comes_out(count: int) -> None:
    with pytest.raises(ValueError, match="three"), Workers(count) as pool:
        list(pool.map(fail, range(100)))


def test_chunks() -> None:
    assert list(chunks(range(5), 2)) == [[0, 1], [2, 3], [4]]
    assert list(chunks([], 2)) == []
