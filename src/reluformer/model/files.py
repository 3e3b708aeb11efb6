"""Saves and loads a trained model: safetensors, beside the run's configuration."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from reluformer.config.run import RunConfig
from reluformer.config.settings import SettingsError, nearest
from reluformer.files import replace
from reluformer.model.transformer import Transformer

MODEL_FILE = "model.safetensors"


def save_model(model: Transformer, path: str | Path, metadata: dict[str, str] | None = None) -> None:
    """Writes the parameters to `path` (a safetensors file) in their own dtype, whole or not at all.

    metadata: entries of the file's header. The same model and metadata give the same bytes.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    content = save(tensors, {"format": "pt", **(metadata or {})})
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))  # safetensors writes them in random order
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text = text.ljust(size)
    write = [len(text).to_bytes(8, "little"), text, content[8 + size :]]
    replace(Path(path), lambda temporary: temporary.write_bytes(b"".join(write)))


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
