"""From a model's name on the Hugging Face hub to a folder, out of the cache or downloaded."""

from __future__ import annotations

import contextlib
import difflib
import threading
from collections.abc import Sequence
from pathlib import Path

from acdc_explorer.models.faults import told_of
from acdc_explorer.models.model_files import missing_shards

_TIMEOUT_SECONDS = 3.0
# Weights are read from safetensors only: unpickling a stranger's file runs their code.
_FILES = ("*.json", "*.safetensors", "*.txt", "*.model")
# Only the finished model: folders of old TransformerLens models hold their whole training too.
_PICKLES = ("pytorch_model*.bin", "model_final.pth")


def hub_folder(
    name: str, revision: str | None, *, allow_pickle: bool, known: Sequence[str]
) -> Path:
    """The local folder of a model on the hub.

    Args:
        name: as "gpt2" or "EleutherAI/pythia-70m".
        revision: a branch, tag or commit; None for the main one.
        allow_pickle: whether to take pickled weights where there are no safetensors.
        known: names of models that need no hub, for the message if this is none.

    Raises:
        ValueError: if the hub has no such model or revision.
        ConnectionError: if it is not in the cache and the hub does not answer in three seconds. A
            folder that is cached in part is returned then, for `check_folder` to say what it lacks.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    patterns = [*_FILES, *(_PICKLES if allow_pickle else ())]
    weights = ["*.safetensors", *(_PICKLES if allow_pickle else ())]
    cached = None
    with contextlib.suppress(LocalEntryNotFoundError, FileNotFoundError):
        folder = Path(
            snapshot_download(
                name, revision=revision, local_files_only=True, allow_patterns=patterns
            )
        )
        if any(list(folder.glob(pattern)) for pattern in weights):
            cached = folder
    if cached is not None and not _lacks_shards(cached):
        return cached
    try:
        _require_on_hub(name, revision, known)
    except ConnectionError:
        if cached is None:
            raise
        return cached
    return Path(snapshot_download(name, revision=revision, allow_patterns=patterns))


def _lacks_shards(folder: Path) -> bool:
    if not (folder / "config.json").is_file():
        return False
    with told_of(str(folder)):
        return bool(missing_shards(folder))


def _require_on_hub(name: str, revision: str | None, known: Sequence[str]) -> None:
    """Asks the hub whether it has a model, and gives up soon."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

    outcome: list[BaseException | None] = []

    def ask() -> None:
        try:
            HfApi().model_info(name, revision=revision, timeout=_TIMEOUT_SECONDS)
            outcome.append(None)
        except Exception as error:
            outcome.append(error)

    # In a thread of its own, since looking up a host's name has no time limit.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(_TIMEOUT_SECONDS)
    error = outcome[0] if outcome else TimeoutError("no answer")
    if error is None:
        return
    if isinstance(error, RevisionNotFoundError):
        raise ValueError(f"model {name!r} has no revision {revision!r} on the hub") from None
    nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
    unknown = f"unknown model {name!r}.{hint} It is neither bundled ({', '.join(known)}), nor a"
    if isinstance(error, RepositoryNotFoundError):
        raise ValueError(
            f"{unknown} folder, nor on the Hugging Face hub (private ones need `hf auth login`)."
        ) from None
    of = f" in revision {revision!r}" if revision else ""
    option = f" --revision {revision}" if revision else ""
    raise ConnectionError(
        f"{unknown} folder, nor in the local Hugging Face cache{of}, and the hub cannot be reached "
        f"({type(error).__name__}). With a network, run `hf download {name}{option}` once; "
        "without, give a model folder."
    )
