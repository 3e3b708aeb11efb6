from __future__ import annotations

import numpy as np

from reluformer.analysis.artifacts import write_arrays


def test_arrays_come_back(tmp_path):
    write_arrays(tmp_path / "a.npz", {"encoder.0": np.eye(2, dtype=np.float16), "tokens": np.array(["▁a", "b"])})
    with np.load(tmp_path / "a.npz", allow_pickle=False) as arrays:
        assert arrays["tokens"].tolist() == ["▁a", "b"]
        assert (arrays["encoder.0"] == np.eye(2)).all()
    assert [p.name for p in tmp_path.iterdir()] == ["a.npz"]
