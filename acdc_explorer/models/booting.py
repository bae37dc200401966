"""Bridges: from a folder, an old TransformerLens checkpoint, or a Hugging Face model in memory."""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from acdc_explorer.models.faults import FaultyModelError, UnsupportedModelError, first, told_of
from acdc_explorer.models.folder_tokenizer import (
    checked_tokenizer,
    checkpoint_tokenizer,
    hf_tokenizer,
)
from acdc_explorer.models.model_files import is_checkpoint, read_config, read_state, weight_files

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

# Buffers that old checkpoints hold and today's models make for themselves.
_BUFFERS = re.compile(
    r"(^|\.)((attn|attention|self_attn)\.(bias|masked_bias)|rotary_emb\.inv_freq|position_ids)$"
)
# What an old checkpoint's configuration may ask for and TransformerLens's own models leave out.
_LEFT_OUT = {
    "shortformer_pos": "it adds positions to queries and keys only (shortformer)",
    "use_local_attn": "some of its heads see the last tokens only (use_local_attn)",
    "parallel_attn_mlp": "its heads and MLPs read the same stream (parallel_attn_mlp)",
}


def boot_folder(
    folder: Path,
    device: str | torch.device,
    tokenizer: Any,
    *,
    name: str,
    origin: Path | None = None,
) -> Any:
    """A bridge from a Hugging Face folder, or one of an old TransformerLens checkpoint.

    Args:
        folder: as `check_folder` has passed it.
        device: where the model goes.
        tokenizer: copied, instead of the folder's own; or None. A folder without one is loaded
            without.
        name: what the model is called.
        origin: what the folder was made of, if the user has not seen it: errors name that instead.

    Raises:
        ValueError: if its weights are not those of the model that its configuration describes, or
            TransformerLens cannot load it, with the reason.
        UnsupportedModelError: if TransformerLens knows no such model.
    """
    tokenizer = checked_tokenizer(tokenizer)
    with told_of(str(origin or folder)):
        config = read_config(folder)
        if is_checkpoint(config):
            return _boot_checkpoint(folder, config, device, tokenizer, name).eval()
        hf_model, architecture = _load_hf_model(folder, config)
        if tokenizer is None:
            tokenizer = hf_tokenizer(folder)
        return _bridge(hf_model, architecture, name, tokenizer, device)


def boot_hf_model(hf_model: PreTrainedModel, tokenizer: Any, device: str | torch.device) -> Any:
    """A bridge around a copy of a Hugging Face model, since bridges change what they are built on.

    Args:
        hf_model: any model that TransformerLens supports.
        tokenizer: copied too; or None.
        device: where the copy goes.

    Raises:
        ValueError: if its weights are quantised, or the tokenizer is none.
        UnsupportedModelError: if TransformerLens knows no such model.
    """
    name = type(hf_model).__name__
    tokenizer = checked_tokenizer(tokenizer)
    if getattr(hf_model, "is_quantized", False):
        raise ValueError(f"this {name} has quantised weights; load it unquantised, in float32")
    with told_of(f"this {name}"):
        return _bridge(copy.deepcopy(hf_model), name, name, tokenizer, device)


def _bridge(
    hf_model: Any, architecture: str, name: str, tokenizer: Any, device: str | torch.device
) -> Any:
    """A bridge around a Hugging Face model, which is changed."""
    from transformer_lens.factories.architecture_adapter_factory import SUPPORTED_ARCHITECTURES
    from transformer_lens.model_bridge.sources._bridge_builder import build_bridge_from_module

    if architecture not in SUPPORTED_ARCHITECTURES:
        raise UnsupportedModelError(
            f"cannot patch {architecture} edge by edge: TransformerLens does not support it"
        )
    hf_model.to(device=torch.device(device), dtype=torch.float32)
    # The only implementation whose attention can be hooked.
    hf_model.set_attn_implementation("eager")
    if hf_model.config.model_type == "gpt2":
        _scale_attention(hf_model)
    return build_bridge_from_module(
        hf_model, architecture, hf_config=hf_model.config, tokenizer=tokenizer, model_name=name
    ).eval()


def _scale_attention(gpt2: Any) -> None:
    """Makes a GPT-2 without an attention scale one with the usual scale, and the same function.

    TransformerLens always divides GPT-2's scores by sqrt(d_head); queries so much larger make up
    for it.
    """
    config = gpt2.config
    if config.scale_attn_weights:
        return
    d_model = config.n_embd
    d_head = d_model // config.n_head
    with torch.no_grad():
        for block in gpt2.transformer.h:
            block.attn.c_attn.weight[:, :d_model] *= math.sqrt(d_head)
            block.attn.c_attn.bias[:d_model] *= math.sqrt(d_head)
            block.attn.scale_attn_weights = True
            block.attn.scaling /= math.sqrt(d_head)
    config.scale_attn_weights = True


def architecture_of(hf_config: PreTrainedConfig) -> str:
    """TransformerLens's name for what a configuration describes.

    Raises:
        UnsupportedModelError: if it has none.
    """
    from transformer_lens.model_bridge.sources._hf_format import (
        determine_architecture_from_hf_config,
    )

    try:
        return str(determine_architecture_from_hf_config(hf_config))
    except ValueError:
        names = ", ".join(hf_config.architectures or [hf_config.model_type])
        raise UnsupportedModelError(
            f"cannot patch {names} edge by edge: TransformerLens does not support it"
        ) from None


def _load_hf_model(folder: Path, config: dict[str, Any]) -> tuple[Any, str]:
    """A folder's Hugging Face model, in float32 on the CPU, and its architecture's name.

    Transformers fills what a file lacks with random numbers and says so in a report that
    TransformerLens silences; here it is an error.
    """
    from huggingface_hub.errors import StrictDataclassError
    from transformer_lens.model_bridge.sources.transformers.helpers import (
        get_hf_model_class_for_architecture,
    )
    from transformers import AutoConfig

    saved_as = config.get("architectures") or ["?"]
    try:
        hf_config = AutoConfig.from_pretrained(
            folder, output_attentions=True, trust_remote_code=False
        )
    except StrictDataclassError as error:
        raise FaultyModelError(f"config.json is faulty: {' '.join(str(error).split())}") from None
    architecture = architecture_of(hf_config)
    # Some models look for it in their configuration, whether it is there or not.
    if "pad_token_id" not in vars(hf_config):
        eos = getattr(hf_config, "eos_token_id", None)
        hf_config.pad_token_id = eos[0] if isinstance(eos, list) else eos
    hf_model, info = get_hf_model_class_for_architecture(architecture).from_pretrained(
        folder,
        config=hf_config,
        dtype=torch.float32,
        attn_implementation="eager",
        trust_remote_code=False,
        output_loading_info=True,
        # They are told of below, with the missing ones.
        ignore_mismatched_sizes=True,
    )
    loaded_as = type(hf_model).__name__
    described = f"config.json says {' or '.join(saved_as)}"
    if loaded_as not in saved_as:
        described = f"{described}, which is loaded as {loaded_as}"
    check_loaded(hf_model, info, described)
    return hf_model, architecture


def check_loaded(hf_model: Any, info: dict[str, Any], described: str) -> None:
    """Raises an error if a model did not get the weights that its configuration describes.

    Args:
        hf_model: as transformers has loaded it.
        info: its report of that (`output_loading_info`).
        described: where the configuration says what, in words.
    """
    _check_names(
        info["missing_keys"],
        info["unexpected_keys"],
        info["mismatched_keys"],
        hf_model.state_dict().keys(),
        f"{hf_model.base_model_prefix}.",
        described,
    )


def _boot_checkpoint(
    folder: Path, config: dict[str, Any], device: str | torch.device, tokenizer: Any, name: str
) -> Any:
    """An old TransformerLens model: its configuration and a state dict, through its converter."""
    from transformer_lens import TransformerBridgeConfig
    from transformer_lens.model_bridge.sources.native import boot
    from transformer_lens.utilities.tl_checkpoint_conversion import convert_tl_checkpoint

    left_out = [reason for name, reason in _LEFT_OUT.items() if config.get(name)]
    if config.get("use_attn_scale", True) is False:
        left_out.append("it does not scale attention scores (use_attn_scale)")
    if left_out:
        raise FaultyModelError(f"TransformerLens computes it as another model: {left_out[0]}")
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
        tokenizer = checkpoint_tokenizer(folder)
    bridge = boot(settings, tokenizer=tokenizer, device=device, model_name=name)
    (file,) = weight_files(folder)
    state = {name: tensor.float() for name, tensor in read_state(file).items()}
    converted = convert_tl_checkpoint(state, settings)
    wanted = bridge.state_dict()
    # Early models had no such bias.
    converted.setdefault("unembed.bias", torch.zeros_like(wanted["unembed.bias"]))
    described = ", ".join(
        f"{name}={config.get(name)}" for name in ("n_layers", "n_heads", "d_model", "attn_only")
    )
    _check_names(
        wanted.keys() - converted.keys(),
        converted.keys() - wanted.keys(),
        [
            (name, tensor.shape, wanted[name].shape)
            for name, tensor in converted.items()
            if name in wanted and tensor.shape != wanted[name].shape
        ],
        wanted.keys(),
        "",
        f"config.json says {described}",
    )
    bridge.load_state_dict(converted, strict=True)
    return bridge


def _check_names(
    missing: Collection[str],
    unexpected: Collection[str],
    mismatched: Collection[tuple[str, Any, Any]],
    wanted: Collection[str],
    base: str,
    described: str,
) -> None:
    """Raises an error unless a file's weights are the model's.

    Args:
        missing: names that only the model has.
        unexpected: names that only the file has.
        mismatched: name, shape in the file and shape in the model, where they differ.
        wanted: the model's names.
        base: what some of them start with and files may leave out.
        described: what the configuration says of the model.
    """
    unexpected = [name for name in unexpected if not _BUFFERS.search(name)]
    faults = []
    if missing:
        faults.append(f"missing are {len(missing)} of the model's ({first(missing)})")
    if unexpected:
        faults.append(f"not the model's are {len(unexpected)} of them ({first(unexpected)})")
    if mismatched:
        sizes = [f"{name} {[*saved]}, not {[*size]}" for name, saved, size in mismatched]
        faults.append(f"of another shape are {len(sizes)} ({first(sizes, quoted=False)})")
    if not faults:
        return
    prefix = _common_prefix(unexpected, {*wanted, *(name.removeprefix(base) for name in wanted)})
    if prefix:
        cause = (
            f"all names start with {prefix!r}, as those of a model saved inside a wrapper do; save "
            "them without it"
        )
    elif any(".lora_" in name for name in unexpected):
        cause = "it holds an adapter that was not merged; with PEFT, merge_and_unload() does it"
    else:
        cause = "config.json is another model's, or says another number of layers or kind of head"
    raise FaultyModelError(
        f"its weights do not fit its configuration ({described}): {'; '.join(faults)}. The likely "
        f"cause: {cause}"
    )


def _common_prefix(names: Collection[str], wanted: Collection[str]) -> str:
    """What all names start with, if they are wanted ones without it; else nothing."""
    parts = min(names, default="").split(".")
    for n_parts in range(1, len(parts)):
        prefix = ".".join(parts[:n_parts]) + "."
        if all(name.startswith(prefix) and name[len(prefix) :] in wanted for name in names):
            return prefix
    return ""
