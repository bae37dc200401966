"""The files of a model's folder: which of them are read, and whether they can be."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import torch

from acdc_explorer.models.faults import FaultyModelError, first, told_of
from acdc_explorer.models.naming import GGUF_SUFFIX

_PICKLES = ("*.bin", "*.pth", "*.pt")
# The names under which Hugging Face folders keep their weights, the preferred one first.
_HF_WEIGHTS = ("model.safetensors", "pytorch_model.bin")


def check_folder(path: Path, *, allow_pickle: bool) -> Path:
    """The folder, if it holds a model.

    Raises:
        ValueError: if it has no configuration or no weights, some of its weights' files are missing
            or damaged, or it has only pickled ones and those are not allowed.
    """
    has_weights = bool(list(path.glob("*.safetensors")))
    pickles = sorted(file.name for pattern in _PICKLES for file in path.glob(pattern))
    adapters = [*path.glob("adapter_config.json"), *path.glob("adapter_model.*")]
    if adapters:
        raise ValueError(
            f"{str(path)!r} holds an adapter ({', '.join(sorted(file.name for file in adapters))}),"
            " which is not a model by itself. Merge it into its base model (with PEFT: "
            "merge_and_unload(), then save_pretrained) and give the merged model's folder"
        )
    if not has_weights and pickles and not allow_pickle:
        raise _pickled(path, pickles)
    missing = [] if (path / "config.json").is_file() else ["config.json"]
    missing += [] if has_weights or pickles else ["*.safetensors"]
    if missing:
        ggufs = sorted(str(file) for file in path.glob(f"*{GGUF_SUFFIX}"))
        hint = f"; it holds GGUF files, of which one can be given: {first(ggufs)}" if ggufs else ""
        raise ValueError(
            f"{str(path)!r} is no model folder: it has no {' and no '.join(missing)} "
            f"(a model saved with save_pretrained has both){hint}"
        )
    with told_of(str(path)):
        files = weight_files(path)
        absent = missing_shards(path)
        if absent:
            raise FaultyModelError(
                f"{len(absent)} of the {len(files)} files of its weights are missing "
                f"({first(absent)}); copy or download it again"
            )
    pickles = [file.name for file in files if file.suffix != ".safetensors"]
    if pickles and not allow_pickle:
        raise _pickled(path, pickles)
    with told_of(str(path)):
        for file in files:
            _check_readable(file)
    return path


def missing_shards(folder: Path) -> list[str]:
    """The names of the files that a folder's index of weights lists and that are not there."""
    return [file.name for file in weight_files(folder) if not file.is_file()]


def is_checkpoint(config: dict[str, Any]) -> bool:
    """Whether a configuration is that of an old TransformerLens checkpoint."""
    return "model_type" not in config and {"d_model", "n_layers"} <= config.keys()


def read_config(folder: Path) -> dict[str, Any]:
    """A folder's configuration, if transformers or TransformerLens can make something of it."""
    from transformers import CONFIG_MAPPING

    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except ValueError as error:
        raise FaultyModelError(f"config.json is no JSON: {error}") from None
    if not isinstance(config, dict):
        raise FaultyModelError("config.json holds no settings by name")
    kind = config.get("model_type")
    if kind is None and not is_checkpoint(config):
        raise FaultyModelError(
            "config.json names no model_type, as Hugging Face models do, nor d_model and n_layers, "
            "as old TransformerLens checkpoints do"
        )
    if kind is not None and kind not in CONFIG_MAPPING:
        raise FaultyModelError(
            f"its model_type {kind!r} is none that transformers knows"
            + ("; its own code, which comes with it, is not run" if "auto_map" in config else "")
        )
    if config.get("quantization_config"):
        raise FaultyModelError("its weights are quantised; save it unquantised, in float32")
    return config


def weight_files(folder: Path) -> list[Path]:
    """The files that a folder's weights are read from, whether they are there or not."""
    if is_checkpoint(read_config(folder)):
        for pattern in ("*.safetensors", "*.pth", "*.pt"):
            files = sorted(folder.glob(pattern))
            if len(files) > 1:
                raise FaultyModelError(
                    f"it has {len(files)} files of weights "
                    f"({first([file.name for file in files])}), and which one is meant does not "
                    "show; leave one"
                )
            if files:
                return files
        raise FaultyModelError("its weights are neither *.safetensors nor *.pth nor *.pt")
    for name in _HF_WEIGHTS:
        if (folder / name).is_file():
            return [folder / name]
        index = folder / f"{name}.index.json"
        if index.is_file():
            try:
                shards = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
                return [folder / shard for shard in sorted(set(shards))]
            except (ValueError, LookupError, TypeError, AttributeError):
                raise FaultyModelError(f"{index.name} is no index of weights") from None
    raise FaultyModelError(
        f"it has no {' or '.join(_HF_WEIGHTS)}, nor an index of several such files"
    )


def read_state(file: Path, device: str = "cpu") -> dict[str, torch.Tensor]:
    """The tensors in a file, by name."""
    from safetensors.torch import load_file

    if file.suffix == ".safetensors":
        return load_file(file)
    try:
        state = torch.load(file, map_location=device, weights_only=True)
    except pickle.UnpicklingError:
        raise FaultyModelError(
            f"{file.name} holds more than tensors, which is not read since it could run code; or "
            "it was not written by PyTorch"
        ) from None
    # Whatever a stranger's bytes make the reader stumble over.
    except Exception as error:
        raise _damaged(file, error) from None
    if not isinstance(state, dict):
        raise FaultyModelError(
            f"{file.name} holds a {type(state).__name__}, not tensors by their names"
        )
    for key, value in state.items():
        if isinstance(value, dict) and _has_tensors(value):
            raise FaultyModelError(
                f"the weights in {file.name} lie under the key {key!r}, as in a checkpoint of a "
                f"training run; save what is there by itself"
            )
    others = [str(key) for key, value in state.items() if not isinstance(value, torch.Tensor)]
    if others:
        raise FaultyModelError(
            f"{file.name} holds other things than tensors ({first(others)}); save them alone"
        )
    return state


def _check_readable(file: Path) -> None:
    """Raises an error unless a file of weights is whole and holds tensors by name."""
    from safetensors import SafetensorError, safe_open

    if file.suffix != ".safetensors":
        # Without the numbers, which are read again.
        read_state(file, "meta")
        return
    try:
        with safe_open(file, framework="pt"):
            pass
    except SafetensorError as error:
        raise _damaged(file, error) from None


def _has_tensors(value: dict[Any, Any]) -> bool:
    return any(isinstance(item, torch.Tensor) for item in value.values())


def _damaged(file: Path, error: Exception) -> FaultyModelError:
    return FaultyModelError(
        f"{file.name} is damaged or incomplete ({type(error).__name__}); copy or download it again"
    )


def _pickled(path: Path, names: list[str]) -> ValueError:
    return ValueError(
        f"{str(path)!r} has no *.safetensors, only {', '.join(names[:3])}: pickled weights, "
        "which may run any code when they are read. If you trust where they come from, pass "
        "allow_pickle=True"
    )
