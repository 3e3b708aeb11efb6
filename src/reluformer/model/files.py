"""Saves and loads a trained model as safetensors, next to the run's configuration."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from reluformer.config.run import RunConfig
from reluformer.config.settings import SettingsError, nearest
from reluformer.files import replace
from reluformer.model.transformer import Transformer

MODEL_FILE = "model.safetensors"


def save_model(model: Transformer, path: str | Path, metadata: dict[str, str] | None = None) -> None:
    """Writes the parameters to `path` (a safetensors file) in their own dtype, atomically.

    metadata: entries of the file's header. The same model and metadata give the same bytes.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}

    def write(temporary: Path) -> None:
        save_file(tensors, temporary, metadata={"format": "pt", **(metadata or {})})
        _sort_metadata(temporary)

    replace(Path(path), write)


def _sort_metadata(path: Path) -> None:
    """Sorts the metadata in a header in place: safetensors writes them in random order."""
    with path.open("r+b") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        file.seek(8)
        file.write(text.ljust(size))


def load_model(run_folder: str | Path, device: str | torch.device = "cpu") -> tuple[Transformer, RunConfig]:
    """Returns the model of a run in evaluation mode, and the run's configuration. Raises `SettingsError`."""
    folder = Path(run_folder)
    config = RunConfig.load(folder)
    model = Transformer(config.model)
    path = folder / MODEL_FILE
    try:
        parameters = load_file(path)
    except FileNotFoundError:
        raise SettingsError(f"{path}: there is no such file; the run has not been trained to its end") from None
    except SafetensorError as error:
        raise SettingsError(f"{path}: not a safetensors file: {error}") from None
    expected = model.state_dict()
    for name, tensor in expected.items():
        if name not in parameters:
            raise SettingsError(f"{path}: {name}: missing, though {folder / 'config.yaml'} asks for it")
        if parameters[name].shape != tensor.shape:
            shapes = f"{list(parameters[name].shape)}, expected {list(tensor.shape)}"
            raise SettingsError(f"{path}: {name}: its shape is {shapes} by {folder / 'config.yaml'}")
    for name in parameters:
        if name not in expected:
            raise SettingsError(
                f"{path}: {name}: not in the model of {folder / 'config.yaml'}{nearest(name, expected)}"
            )
    model.load_state_dict(parameters)
    return model.to(device).eval(), config
