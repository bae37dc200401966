"""Loading models: bundled ones, folders, the Hugging Face hub, a TransformerBridge."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from acdc_explorer.models.model import Model

if TYPE_CHECKING:
    import torch

BUNDLED: dict[str, Path] = {"mini": Path(__file__).parent / "mini"}

_HUB_TIMEOUT_SECONDS = 3.0
# Weights are read from safetensors only: unpickling a stranger's file runs their code.
_HUB_FILES = ["*.json", "*.safetensors", "*.txt", "*.model"]


def load_model(model: Any, device: str | torch.device = "auto") -> Model:
    """Loads a model for patching.

    Args:
        model: a bundled name ("mini"); a folder in Hugging Face format; a Hugging Face name that
            TransformerLens supports (from the local cache if it is there, else from the hub); a
            TransformerBridge; or a `Model`, which is returned as it is.
        device: "auto" takes a GPU where there is one. A TransformerBridge stays where it is.

    Raises:
        ValueError: if there is no such model, the folder holds none, or the engine cannot reproduce
            it (then an `UnsupportedModelError` with the reason).
        ConnectionError: if a hub model is neither cached nor reachable within three seconds.
    """
    if isinstance(model, Model):
        return model
    if isinstance(model, (str, os.PathLike)):
        name = os.fspath(model)
        return Model(_boot(_folder_of(name), device), name)
    if hasattr(model, "blocks") and hasattr(model, "cfg"):
        return Model(model, str(getattr(model.cfg, "model_name", None) or "TransformerBridge"))
    raise ValueError(
        f"model must be a name, a folder, a TransformerBridge or a Model; "
        f"got {type(model).__name__}"
    )


def _folder_of(name: str) -> Path:
    if name in BUNDLED:
        return BUNDLED[name]
    path = Path(name).expanduser()
    if path.is_dir():
        return _checked_folder(path)
    if path.exists() or not name or name.startswith((".", "/", "~")) or name.count("/") > 1:
        what = "is a file" if path.exists() else "does not exist"
        raise ValueError(f"model folder {name!r} {what}; a model is a folder with a config.json")
    return _checked_folder(_from_hub(name))


def _checked_folder(path: Path) -> Path:
    missing = [
        pattern for pattern in ("config.json", "*.safetensors") if not list(path.glob(pattern))
    ]
    if missing:
        raise ValueError(
            f"{str(path)!r} is no model folder: it has no {' and no '.join(missing)} "
            "(a model saved with save_pretrained has both)"
        )
    return path


def _from_hub(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    with contextlib.suppress(LocalEntryNotFoundError, FileNotFoundError):
        folder = Path(snapshot_download(name, local_files_only=True, allow_patterns=_HUB_FILES))
        if list(folder.glob("*.safetensors")):
            return folder
    _require_on_hub(name)
    return Path(snapshot_download(name, allow_patterns=_HUB_FILES))


def _require_on_hub(name: str) -> None:
    """Asks the hub whether it has a model, and gives up soon."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import RepositoryNotFoundError

    outcome: list[BaseException | None] = []

    def ask() -> None:
        try:
            HfApi().model_info(name, timeout=_HUB_TIMEOUT_SECONDS)
            outcome.append(None)
        except Exception as error:
            outcome.append(error)

    # In a thread of its own, since looking up a host's name has no time limit.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(_HUB_TIMEOUT_SECONDS)
    error = outcome[0] if outcome else TimeoutError("no answer")
    if error is None:
        return
    bundled = ", ".join(BUNDLED)
    if isinstance(error, RepositoryNotFoundError):
        raise ValueError(
            f"unknown model {name!r}.{_nearest(name)} It is neither bundled ({bundled}), nor a "
            "folder, nor on the Hugging Face hub (private ones need `hf auth login`)."
        ) from None
    raise ConnectionError(
        f"unknown model {name!r}.{_nearest(name)} It is neither bundled ({bundled}), nor a folder, "
        "nor in the local Hugging Face cache, and the hub cannot be reached "
        f"({type(error).__name__}). With a network, run `hf download {name}` once; without, give a "
        "model folder."
    )


def _nearest(name: str) -> str:
    import difflib

    nearest = difflib.get_close_matches(name, BUNDLED, n=1, cutoff=0.5)
    return f" Did you mean {nearest[0]!r}?" if nearest else ""


def _boot(folder: Path, device: str | torch.device) -> Any:
    import torch
    from transformer_lens.model_bridge import TransformerBridge

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    with _quiet():
        try:
            bridge = TransformerBridge.boot_transformers(
                str(folder), device=device, dtype=torch.float32
            )
        except (OSError, RuntimeError, KeyError, ValueError) as error:
            raise ValueError(
                f"TransformerLens cannot load the model in {str(folder)!r}: "
                f"{type(error).__name__}: {error}"
            ) from error
    bridge.eval()
    return bridge


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps progress bars and notices of transformers out of the notebook while a model loads."""
    from transformers.utils import logging as transformers_logging

    logger = logging.getLogger("transformers")
    level, bars = logger.level, transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        logger.setLevel(level)
        if bars:
            transformers_logging.enable_progress_bar()
