from __future__ import annotations

import math

import numpy as np
import pytest

from reluformer.analysis.artifacts import write_arrays, write_json


def test_nan_is_refused_and_the_old_file_stays(tmp_path):
    path = tmp_path / "new" / "a.json"
    write_json(path, {"a": None})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"a": math.nan})
    assert path.read_text() == '{\n "a": null\n}\n'
    assert [p.name for p in path.parent.iterdir()] == ["a.json"]


def test_arrays_come_back(tmp_path):
    write_arrays(tmp_path / "a.npz", {"encoder.0": np.eye(2, dtype=np.float16), "tokens": np.array(["▁a", "b"])})
    with np.load(tmp_path / "a.npz", allow_pickle=False) as arrays:
        assert arrays["tokens"].tolist() == ["▁a", "b"]
        assert (arrays["encoder.0"] == np.eye(2)).all()
    assert [p.name for p in tmp_path.iterdir()] == ["a.npz"]
