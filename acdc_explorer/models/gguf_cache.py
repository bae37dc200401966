"""GGUF files as Hugging Face folders, each converted once and kept in the user's cache."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import tempfile
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from acdc_explorer.files import user_cache
from acdc_explorer.models.gguf_file import GgufModel, read_gguf
from acdc_explorer.progress import working_on

# Goes up when a conversion comes out otherwise than before: older ones are then made again.
_FORMAT = 1
_RECORD = "conversion.json"
# What folders are called until they are whole.
_PART = ".part-"
_DAY_SECONDS = 86_400


@dataclass(frozen=True)
class Conversion:
    """A GGUF file's model as a Hugging Face folder.

    Attributes:
        folder: with config.json, model.safetensors and, if the file has one, a tokenizer.
        quantised_as: see `GgufModel`.
        tokenizer_fault: likewise.
    """

    folder: Path
    quantised_as: tuple[str, ...]
    tokenizer_fault: str


def cache_folder() -> Path:
    """Where conversions are kept: `acdc_explorer/gguf` in XDG_CACHE_HOME, or in ~/.cache."""
    return user_cache() / "gguf"


@contextlib.contextmanager
def converted(file: Path) -> Iterator[Conversion]:
    """A file's conversion, out of the cache or made now; to be read inside the `with`.

    If it cannot be kept, a warning says why, and it is in a temporary folder.

    Args:
        file: a GGUF file.

    Raises:
        ValueError: as `read_gguf`.
    """
    digest = _sha256(file)
    kept = _kept(digest)
    if kept is not None:
        yield kept
        return
    model = read_gguf(file)
    try:
        with working_on(f"converting {file.name} (this once): keeping the result"):
            kept = _keep(model, digest)
    # A RuntimeError, if there is no home to look for the cache in.
    except (OSError, RuntimeError) as error:
        warnings.warn(
            f"the converted {file.name} could not be kept, and will be converted again the next "
            f"time: {error}",
            stacklevel=1,
        )
    if kept is not None:
        del model
        yield kept
        return
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary:
        conversion = _write(model, Path(temporary))
        del model
        yield conversion


def _kept(digest: str) -> Conversion | None:
    """The conversion of the file with this SHA-256, if it is in the cache and undamaged."""
    with contextlib.suppress(OSError, RuntimeError):
        return _read(cache_folder() / digest)
    return None


def _keep(model: GgufModel, digest: str) -> Conversion:
    """Writes a conversion into the cache, whole or not at all.

    Another process may do so at the same time; the first one's is kept.
    """
    cache = cache_folder()
    cache.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(cache)
    made = Path(tempfile.mkdtemp(prefix=_PART, dir=cache))
    try:
        _write(model, made)
        kept = _read(cache / digest)
        if kept is None:
            _remove(cache / digest)
            # Should another process have put its own there just now, this fails.
            with contextlib.suppress(OSError):
                made.rename(cache / digest)
            kept = _read(cache / digest)
    finally:
        shutil.rmtree(made, ignore_errors=True)
    if kept is None:
        raise OSError(f"{str(cache)!r} does not hold what was written to it")
    return kept


def _remove(damaged: Path) -> None:
    """Removes a conversion at one stroke, so that nobody reads half of it."""
    if damaged.exists():
        aside = Path(tempfile.mkdtemp(prefix=_PART, dir=damaged.parent))
        damaged.rename(aside / damaged.name)
        shutil.rmtree(aside, ignore_errors=True)


def _remove_leftovers(cache: Path) -> None:
    """Removes what a process that was killed a day or more ago had written so far."""
    for part in cache.glob(f"{_PART}*"):
        with contextlib.suppress(OSError):
            if time.time() - part.stat().st_mtime > _DAY_SECONDS:
                shutil.rmtree(part)


def _write(model: GgufModel, folder: Path) -> Conversion:
    """Writes a Hugging Face folder, and a record of what is in it."""
    from safetensors import SafetensorError
    from safetensors.torch import save_model

    hf_model = model.hf_model
    for parameter in hf_model.parameters():
        parameter.data = _smallest_exact(parameter.data)
    config = hf_model.config
    # They are quantised no longer.
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    config.architectures = [type(hf_model).__name__]
    config.save_pretrained(folder)
    if model.tokenizer is not None:
        model.tokenizer.save_pretrained(folder)
    weights = str(folder / "model.safetensors")
    try:
        # Of weights that are one and the same, as a tied unembedding, it writes one.
        save_model(hf_model, weights, metadata={"format": "pt"})
    except SafetensorError as error:
        raise OSError(str(error)) from None
    record = {
        "format": _FORMAT,
        "quantised_as": model.quantised_as,
        "tokenizer_fault": model.tokenizer_fault,
        "sha256": {file.name: _sha256(file) for file in sorted(folder.iterdir())},
    }
    (folder / _RECORD).write_text(json.dumps(record, indent=2), encoding="utf-8")
    return Conversion(folder, model.quantised_as, model.tokenizer_fault)


def _read(folder: Path) -> Conversion | None:
    """What `_write` wrote to a folder; None if anything is missing or damaged, or of old.

    Raises:
        OSError: if it cannot be read.
    """
    try:
        record: dict[str, Any] = json.loads((folder / _RECORD).read_text(encoding="utf-8"))
        files = record["sha256"].items()
        whole = record["format"] == _FORMAT and all(
            _sha256(folder / name) == digest for name, digest in files
        )
        conversion = Conversion(folder, tuple(record["quantised_as"]), record["tokenizer_fault"])
    except (FileNotFoundError, ValueError, LookupError, TypeError, AttributeError):
        return None
    return conversion if whole else None


def _smallest_exact(weights: torch.Tensor) -> torch.Tensor:
    """Weights in the smallest type that holds them exactly: those of float16 files it halves."""
    for dtype in (torch.float16, torch.bfloat16):
        if torch.equal(weights.to(dtype).float(), weights.float()):
            return weights.to(dtype)
    return weights


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
