"""Bridges: from a folder, an old TransformerLens checkpoint, or a Hugging Face model in memory."""

from __future__ import annotations

import contextlib
import copy
import json
import logging
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_PICKLES = ("*.bin", "*.pth", "*.pt")
# What booting raises for files and configurations that are not what they should be.
_FAULTS = (OSError, RuntimeError, LookupError, ValueError, TypeError, AttributeError)


def check_folder(path: Path, *, allow_pickle: bool) -> Path:
    """The folder, if it holds a model.

    Raises:
        ValueError: if it has no configuration or no weights, or only pickled ones that are not
            allowed.
    """
    has_weights = bool(list(path.glob("*.safetensors")))
    pickles = sorted(file.name for pattern in _PICKLES for file in path.glob(pattern))
    if not has_weights and pickles and not allow_pickle:
        raise ValueError(
            f"{str(path)!r} has no *.safetensors, only {', '.join(pickles[:3])}: pickled weights, "
            "which may run any code when they are read. If you trust where they come from, pass "
            "allow_pickle=True"
        )
    missing = [] if (path / "config.json").is_file() else ["config.json"]
    missing += [] if has_weights or pickles else ["*.safetensors"]
    if missing:
        raise ValueError(
            f"{str(path)!r} is no model folder: it has no {' and no '.join(missing)} "
            "(a model saved with save_pretrained has both)"
        )
    return path


def boot_folder(folder: Path, device: str | torch.device, tokenizer: Any) -> Any:
    """A bridge from a Hugging Face folder, or one of an old TransformerLens checkpoint.

    Args:
        folder: as `check_folder` has passed it.
        device: where the model goes.
        tokenizer: instead of the folder's own, or None.

    Raises:
        ValueError: if TransformerLens cannot load it, with its reason.
    """
    from transformer_lens.model_bridge import TransformerBridge

    with _told_of(str(folder)):
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        if "model_type" not in config and {"d_model", "n_layers"} <= config.keys():
            return _boot_checkpoint(folder, config, device, tokenizer).eval()
        return TransformerBridge.boot_transformers(
            str(folder),
            device=device,
            dtype=torch.float32,
            tokenizer=tokenizer,
            trust_remote_code=False,
        ).eval()


def boot_hf_model(hf_model: PreTrainedModel, tokenizer: Any, device: str | torch.device) -> Any:
    """A bridge around a copy of a Hugging Face model, since bridges change what they are built on.

    Args:
        hf_model: any model that TransformerLens supports.
        tokenizer: copied too; or None.
        device: where the copy goes.

    Raises:
        ValueError: if TransformerLens does not support it, or its weights are quantised.
    """
    from transformer_lens.model_bridge.sources._bridge_builder import build_bridge_from_module

    name = type(hf_model).__name__
    if getattr(hf_model, "is_quantized", False):
        raise ValueError(f"this {name} has quantised weights; load it unquantised, in float32")
    with _told_of(f"this {name}"):
        copied: Any = copy.deepcopy(hf_model)
        copied.to(device=torch.device(device), dtype=torch.float32)
        # The only implementation whose attention can be hooked.
        copied.set_attn_implementation("eager")
        return build_bridge_from_module(
            copied,
            name,
            hf_config=copied.config,
            tokenizer=copy.deepcopy(tokenizer),
            model_name=name,
        ).eval()


def _boot_checkpoint(
    folder: Path, config: dict[str, Any], device: str | torch.device, tokenizer: Any
) -> Any:
    """An old TransformerLens model: its configuration and a state dict, through its converter.

    The first of the folder's *.safetensors, *.pth and *.pt is read, the last two as plain tensors.
    """
    from transformer_lens import TransformerBridgeConfig
    from transformer_lens.model_bridge.sources.native import boot
    from transformer_lens.utilities.tl_checkpoint_conversion import convert_tl_checkpoint

    if config.get("shortformer_pos"):
        raise ValueError("it adds positions to queries and keys only (shortformer)")
    normalization = config.get("normalization_type", config.get("normalization"))
    own = {key: value for key, value in config.items() if key not in ("device", "dtype")}
    settings = TransformerBridgeConfig.from_dict(
        {
            **own,
            "normalization_type": normalization,
            "architecture": "TransformerLensNative",
            "device": str(device),
        }
    )
    if tokenizer is None and (folder / "tokenizer.json").is_file():
        tokenizer = _read_tokenizer(folder)
    bridge = boot(settings, tokenizer=tokenizer, device=device, model_name=folder.name)
    state = {name: tensor.float() for name, tensor in _read_state(folder).items()}
    converted = convert_tl_checkpoint(state, settings)
    # Early models had no such bias.
    converted.setdefault("unembed.bias", torch.zeros(settings.d_vocab))
    bridge.load_state_dict(converted, strict=True)
    return bridge


def _read_tokenizer(folder: Path) -> Any:
    """The tokenizer beside an old checkpoint, whose config.json transformers cannot read."""
    from transformers import PreTrainedTokenizerFast

    file = folder / "tokenizer_config.json"
    settings = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    special = {
        name: token["content"] if isinstance(token, dict) else token
        for name, token in settings.items()
        if name in ("bos_token", "eos_token", "unk_token", "pad_token") and token
    }
    return PreTrainedTokenizerFast(
        tokenizer_file=str(folder / "tokenizer.json"),
        # Without these two TransformerLens asks the hub for the tokenizer again.
        add_bos_token=True,
        name_or_path=folder.name,
        **special,
    )


def _read_state(folder: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    for pattern in ("*.safetensors", "*.pth", "*.pt"):
        for file in sorted(folder.glob(pattern)):
            if file.suffix == ".safetensors":
                return load_file(file)
            try:
                return torch.load(file, map_location="cpu", weights_only=True)
            except pickle.UnpicklingError:
                raise ValueError(
                    f"{file.name} holds more than tensors, which is not read"
                ) from None
    raise ValueError("its weights are neither *.safetensors nor *.pth nor *.pt")


@contextlib.contextmanager
def _told_of(what: str) -> Iterator[None]:
    """Keeps notices out of the notebook while a model loads, and says which one did not."""
    from transformers.utils import logging as transformers_logging

    logger = logging.getLogger("transformers")
    level, bars = logger.level, transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    except _FAULTS as error:
        raise ValueError(
            f"TransformerLens cannot load the model in {what!r}: {type(error).__name__}: {error}"
        ) from error
    finally:
        logger.setLevel(level)
        if bars:
            transformers_logging.enable_progress_bar()
