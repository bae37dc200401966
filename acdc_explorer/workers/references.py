"""The model that a job is about: what crosses to a worker, and the model there, loaded once."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import os
import secrets
import time
import weakref
from collections import OrderedDict
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import torch
from torch import Tensor

from acdc_explorer.files import user_cache
from acdc_explorer.models.loading import load_model, loaded_from
from acdc_explorer.models.model import LoadedFrom, Model, ModelLike
from acdc_explorer.models.naming import short_name
from acdc_explorer.models.weights import map_tensors

# A worker that is given many models in turn keeps the last few.
_MODELS_KEPT = 4
# Of weights that no process needs any more.
_KEPT_SECONDS = 7 * 86_400


@dataclass(frozen=True)
class ModelReference:
    """What crosses to a worker in place of a model.

    Attributes:
        name: of the model, as it is shown.
        loaded_from: how to load it; or None.
        file: else, where its weights have been written to, in the user's cache.
        digest: SHA-256 of that file.
        fingerprint: of the weights (`fingerprint_of`); None: whatever `loaded_from` leads to.
        memory_gib: what activations may take there, as `Model` has it.
    """

    name: str
    loaded_from: LoadedFrom | None
    file: str | None = None
    digest: str | None = None
    fingerprint: str | None = None
    memory_gib: float | None = None


# The models of this process; those that were referred to here are the caller's, and go with him.
_loaded: OrderedDict[ModelReference, Model] = OrderedDict()
_referred_to: weakref.WeakValueDictionary[ModelReference, Model] = weakref.WeakValueDictionary()
_written: weakref.WeakKeyDictionary[Model, ModelReference] = weakref.WeakKeyDictionary()


def reference_of(model: ModelLike) -> ModelReference:
    """Refers to a model, so that workers can have the same one.

    One that was loaded by name, or from a folder or file, is loaded from there by every worker,
    which compares the weights. The weights of any other are written to a file in the user's cache,
    which workers read, and which goes when the model does. On a cluster, either has to be at the
    same place for all.

    Args:
        model: whatever `load_model` takes. What is given by its name is not loaded.
    """
    if isinstance(model, (str, os.PathLike)):
        name = os.fspath(model)
        return ModelReference(short_name(name), loaded_from(name))
    model = load_model(model)
    fingerprint = fingerprint_of(model)
    if model.loaded_from is not None:
        reference = ModelReference(
            model.name,
            model.loaded_from,
            fingerprint=fingerprint,
            memory_gib=model.memory_gib,
        )
    else:
        written = _written.get(model)
        # Weights may be changed in place.
        if written is None or written.fingerprint != fingerprint or not _file(written).exists():
            written = _written[model] = _write(model, fingerprint)
        if written.memory_gib != model.memory_gib:
            written = _written[model] = replace(written, memory_gib=model.memory_gib)
        reference = written
    _referred_to[reference] = model
    return reference


def model_of(reference: ModelReference) -> Model:
    """The model that is referred to, which each process loads once.

    Args:
        reference: made by `reference_of`, here or in another process.

    Raises:
        ValueError: if it cannot be loaded here, or has other weights than where it was referred to.
    """
    model = _referred_to.get(reference) or _loaded.pop(reference, None)
    if model is None:
        model = _load(reference)
    if reference not in _referred_to:
        _loaded[reference] = model
        while len(_loaded) > _MODELS_KEPT:
            _loaded.popitem(last=False)
    return model


def fingerprint_of(model: Model) -> str:
    """SHA-256 of all weights, and of what else of a model decides what it computes."""
    sha, weights = hashlib.sha256(), model.weights

    def add(tensor: Tensor) -> Tensor:
        sha.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        sha.update(flat.view(torch.uint8).numpy().data)
        return tensor

    map_tensors(weights, add)
    numbers = weights.embed_scale, weights.attn_scale, weights.attn_cap, weights.logit_cap
    windows = [block.window for block in weights.blocks]
    norms = [weights.ln_final]
    for block in weights.blocks:
        norms += [block.ln1, block.ln1_post, block.q_norm, block.k_norm]
        norms += [block.mlp.ln, block.mlp.ln_post] if block.mlp is not None else []
    sizes = [norm and norm.eps for norm in norms]
    sha.update(repr((weights.activation, weights.parallel, numbers, windows, sizes)).encode())
    return sha.hexdigest()


def _load(reference: ModelReference) -> Model:
    if reference.loaded_from is not None:
        given = reference.loaded_from
        model = load_model(
            given.name,
            given.device,
            revision=given.revision,
            allow_pickle=given.allow_pickle,
            memory_gib=reference.memory_gib,
        )
    else:
        model = _read(reference)
        model.memory_gib = reference.memory_gib
    if reference.fingerprint not in (None, fingerprint_of(model)):
        raise ValueError(
            f"model {reference.name!r} has other weights here than where it was referred to: its "
            "files differ, or its weights were changed after it was loaded"
        )
    return model


def _write(model: Model, fingerprint: str) -> ModelReference:
    """Writes a model without its bridge, of which workers need the tokenizer alone."""
    bare = copy.copy(model)
    bare.bridge = SimpleNamespace(
        tokenizer=model.tokenizer, cfg=SimpleNamespace(default_prepend_bos=model.prepend_bos)
    )
    bare.weights = map_tensors(model.weights, lambda tensor: tensor.detach().cpu())
    folder = user_cache() / "workers"
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob("*.pt"):
        # By a process that was killed: its own went with the model.
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > _KEPT_SECONDS:
                left.unlink()
    file = folder / f"{secrets.token_hex(8)}.pt"
    weakref.finalize(model, _remove, file)
    torch.save((bare, model.weights.device.type), file)
    return ModelReference(model.name, None, str(file), _digest(file), fingerprint, model.memory_gib)


def _read(reference: ModelReference) -> Model:
    """Reads a model, as it was written: what has other bytes is not unpickled."""
    file = _file(reference)
    if not file.is_file() or _digest(file) != reference.digest:
        raise ValueError(
            f"the weights of model {reference.name!r} are not in {str(file)!r}: every worker must "
            "see the folder into which they were written, and the model must still be in use there"
        )
    model, device = torch.load(file, weights_only=False)
    if device == "cuda" and torch.cuda.is_available():
        model.weights = map_tensors(model.weights, lambda tensor: tensor.to(device))
    return model


def _file(reference: ModelReference) -> Path:
    return Path(str(reference.file))


def _digest(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _remove(file: Path) -> None:
    with contextlib.suppress(OSError):
        file.unlink()
