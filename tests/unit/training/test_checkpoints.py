"""Folders of checkpoints and their tensors; test_resume tests that a whole state is restored bit by bit."""

from __future__ import annotations

import errno

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from reluformer.training.checkpoints import (
    Checkpoints,
    DamagedCheckpoint,
    average_weights,
    differences,
    identity,
    load_module,
    module_tensors,
    open_folder,
    verify,
    write_error,
)


def write(checkpoints, update, interim=False, content="x"):
    folder = checkpoints.begin(update, interim)
    (folder / "model.safetensors").write_text(content)
    return checkpoints.commit(folder)


def test_the_last_regular_ones_are_kept_and_the_newest_interim_one(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=2)
    for update in (10, 20, 30):
        write(checkpoints, update)
    write(checkpoints, 35, interim=True)
    assert [(c.update, c.interim) for c in checkpoints.all()] == [(20, False), (30, False), (35, True)]
    write(checkpoints, 40)
    assert [(c.update, c.interim) for c in checkpoints.all()] == [(30, False), (40, False)]
    assert [c.update for c in checkpoints.regular(before=40, count=2)] == [30]
    assert [c.update for c in checkpoints.regular(before=50, count=3)] == [30, 40]  # fewer than requested
    assert checkpoints.regular(before=50, count=0) == []


def test_an_unfinished_checkpoint_is_ignored(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=2)
    (checkpoints.begin(10, False) / "model.safetensors").write_text("half")
    assert checkpoints.newest(print) is None
    write(checkpoints, 20)
    assert [path.name for path in tmp_path.iterdir()] == ["update-00000020"]


def test_the_same_update_is_written_again(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=2)
    write(checkpoints, 10, content="old")
    path = write(checkpoints, 10, content="new")
    assert (path / "model.safetensors").read_text() == "new"
    verify(path)


@pytest.mark.parametrize("file", ["model.safetensors", "checksums.json"])
@pytest.mark.parametrize("damage", ["", "{", None])
def test_damage_is_reported_and_the_one_before_used(tmp_path, file, damage):
    checkpoints = Checkpoints(tmp_path, keep=3)
    write(checkpoints, 10)
    newest = write(checkpoints, 20)
    if damage is None:
        (newest / file).unlink()
    else:
        (newest / file).write_text(damage)
    with pytest.raises(DamagedCheckpoint):
        verify(newest)
    messages = []
    assert checkpoints.newest(messages.append).update == 10
    assert len(messages) == 1 and "update 20 is damaged" in messages[0]


def test_other_configurations_are_named(tmp_path):
    messages = []
    run, data = {"seed": 1, "training": {"updates": 10, "warmup": 4}}, {"a": "1"}
    own = open_folder(tmp_path, run, data, messages.append)
    assert own.name == identity(run, data) and messages == []
    assert open_folder(tmp_path, run, data, messages.append) == own and messages == []
    other = open_folder(tmp_path, {**run, "training": {"updates": 20, "warmup": 4}}, {"a": "2"}, messages.append)
    assert other != own
    assert (
        "corpus.a: '1' -> '2'" in messages[0]
        and "training.updates: 10 -> 20" in messages[0]
        and "warmup" not in messages[0]
    )


def test_differences_names_new_and_lost_keys():
    assert differences({"a": 1, "b": {"c": 1}}, {"b": {"c": 1, "d": 2}}) == ["a: 1 -> None", "b.d: None -> 2"]


def test_a_write_error_names_the_last_good_checkpoint(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=2)
    write(checkpoints, 10)
    message = str(write_error(OSError(errno.ENOSPC, "No space left"), tmp_path, checkpoints.all()[-1]))
    assert "no space left on the disk; the last good checkpoint is of update 10" in message


def tied() -> nn.Module:
    module = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False), nn.BatchNorm1d(2))
    module[1].weight = module[0].weight
    return module


def test_shared_parameters_are_one_tensor():
    assert set(module_tensors(tied())) == {
        "0.weight",
        "2.weight",
        "2.bias",
        "2.running_mean",
        "2.running_var",
        "2.num_batches_tracked",
    }


def test_load_module_copies_in_place():
    module, other = tied(), tied()
    parameter = module[0].weight
    load_module(module, module_tensors(other))
    assert module[0].weight is parameter and torch.equal(parameter, other[0].weight)
    with pytest.raises(KeyError):
        load_module(module, {})


def test_average_is_the_mean_in_the_weights_type(tmp_path):
    files = []
    for value in (1.0, 2.0):
        files.append(tmp_path / f"{value}.safetensors")
        save_file({"w": torch.full((2,), value), "n": torch.tensor(int(value))}, files[-1])
    mean = average_weights(files, {"w": torch.full((2,), 6.0), "n": torch.tensor(9)})
    assert mean["w"].tolist() == [3.0, 3.0] and mean["w"].dtype == torch.float32 and mean["n"] == 9
