from __future__ import annotations

from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from reluformer.config.dataset import ArchiveConfig
from reluformer.corpus.statistics import Lengths, length_distribution, sources, versions
from reluformer.files import sha256


def test_length_distribution() -> None:
    assert length_distribution([1, 2, 3, 4, 10], 6) == {
        "mean": 4.0,
        "median": 3.0,
        "p90": 7.6,
        "max": 10,
        "share_half": 0.6,  # 3, 4 and 10 are at least 6 / 2
        "share_over": 0.2,
    }
    assert length_distribution([]) == {"mean": None, "median": None, "p90": None, "max": None}


@given(st.lists(st.lists(st.integers(0, 300), max_size=20), max_size=5))
def test_counting_in_parts_gives_what_numpy_gives_at_once(parts: list[list[int]]) -> None:
    counted = Lengths()
    for part in parts:
        counted.add(part)
    lengths = [length for part in parts for length in part]
    if lengths:
        found = counted.distribution(100)
        assert found["mean"] == pytest.approx(np.mean(lengths), abs=0.006)
        assert found["median"] == np.median(lengths)
        assert found["p90"] == pytest.approx(np.percentile(lengths, 90), abs=0.051)
        assert found["max"] == max(lengths)
        assert found["share_half"] == pytest.approx(np.mean(np.array(lengths) >= 50), abs=1e-4)


def test_sources(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert sha256(tmp_path / "a") == digest
    assert sources([(ArchiveConfig(name="a", urls=["u"]), tmp_path / "a")]) == [
        {"name": "a", "published": ["u"], "sha256": digest, "bytes": 3}
    ]


def test_versions() -> None:
    assert {"sacremoses", "sentencepiece"} <= set(versions())
