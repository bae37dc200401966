"""From a GGUF file to a Hugging Face model and tokenizer, read by transformers.

Only what the file says is used. Where transformers would leave something out without a word, or
fill it with random numbers, the file is refused.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from acdc_explorer.models.booting import architecture_of, check_loaded
from acdc_explorer.models.faults import FaultyModelError, UnsupportedModelError, first
from acdc_explorer.models.from_pip import INSTALL_GGUF, has_gguf
from acdc_explorer.progress import working_on

if TYPE_CHECKING:
    from gguf import GGUFReader

_MAGIC = b"GGUF"
# Plain numbers; all other types of tensors are quantised.
_FLOATS = ("F16", "F32", "F64", "BF16")


@dataclass(frozen=True)
class GgufModel:
    """What a GGUF file holds.

    Attributes:
        hf_model: in float32, on the CPU.
        tokenizer: or None if the file has none, or one that transformers cannot read.
        tokenizer_fault: why it cannot be read; empty if it can, or if there is none.
        quantised_as: the types of its quantised weights, as "Q4_1", the most frequent first.
    """

    hf_model: Any
    tokenizer: Any
    tokenizer_fault: str
    quantised_as: tuple[str, ...]


def read_gguf(file: Path) -> GgufModel:
    """Reads a file; takes about half a minute for each 100 million weights.

    Args:
        file: of one model, whole.

    Raises:
        FaultyModelError: if the package gguf is missing, or the file is not what it should be.
        UnsupportedModelError: if transformers cannot read such a model, or not all of it.
    """
    if not has_gguf():
        raise FaultyModelError(f"GGUF files are read with the package gguf; run: {INSTALL_GGUF}")
    converting = f"converting {file.name} (this once)"
    with working_on(f"{converting}: reading it"):
        reader = _open(file)
        _check_header(reader)
    # A folder of its own, lest files that lie beside the GGUF file be taken for the model's.
    with tempfile.TemporaryDirectory() as empty, _without_bars():
        source: dict[str, Any] = {
            "pretrained_model_name_or_path": empty,
            "gguf_file": str(file.absolute()),
            "trust_remote_code": False,
        }
        with working_on(f"{converting}: dequantising its weights"):
            hf_model = _read_model(reader, source)
        with working_on(f"{converting}: rebuilding its tokenizer"):
            tokenizer, fault = _read_tokenizer(reader, source)
    sizes: Counter[str] = Counter()
    for tensor in reader.tensors:
        sizes[tensor.tensor_type.name] += int(tensor.n_elements)
    quantised_as = tuple(kind for kind, _ in sizes.most_common() if kind not in _FLOATS)
    return GgufModel(hf_model, tokenizer, fault, quantised_as)


def _open(file: Path) -> GGUFReader:
    """The file's header and table of tensors."""
    from gguf import GGUFReader

    with file.open("rb") as opened:
        magic = opened.read(len(_MAGIC))
    if magic != _MAGIC:
        raise FaultyModelError(f"it is no GGUF file: it begins with {magic!r}, not {_MAGIC!r}")
    try:
        return GGUFReader(file)
    # Whatever a stranger's bytes make the reader stumble over.
    except Exception as error:
        raise _damaged(type(error).__name__) from None


def _damaged(how: str) -> FaultyModelError:
    return FaultyModelError(f"it is damaged or incomplete ({how}); copy or download it again")


def _check_header(reader: GGUFReader) -> None:
    """Raises an error if the file says something that transformers does not read."""
    architecture = _field(reader, "general.architecture")
    if architecture is None:
        raise FaultyModelError("it names no general.architecture")
    needed = ("block_count", "embedding_length", "attention.head_count")
    lacking = [key for key in needed if _field(reader, f"{architecture}.{key}") is None]
    if lacking:
        # For which transformers would take its own default.
        raise FaultyModelError(f"its metadata lacks {architecture}.{lacking[0]}")
    n_parts = _field(reader, "split.count") or 1
    if n_parts > 1:
        raise FaultyModelError(
            f"it is one of {n_parts} parts; merge them (llama-gguf-split --merge) and give that "
            "file"
        )
    scaled_by = [tensor.name for tensor in reader.tensors if tensor.name.startswith("rope_")]
    kind = _field(reader, f"{architecture}.rope.scaling.type")
    if kind not in (None, "none"):
        scaled_by.append(f"{architecture}.rope.scaling.type = {kind}")
    if scaled_by:
        raise UnsupportedModelError(
            f"cannot patch this {architecture} edge by edge: its rotary positions are scaled "
            f"({first(scaled_by, quoted=False)}), which transformers does not read from GGUF "
            "files. Give the model's Hugging Face folder instead"
        )


def _field(reader: GGUFReader, name: str) -> Any:
    field = reader.get_field(name)
    return None if field is None else field.contents()


def _read_model(reader: GGUFReader, source: dict[str, Any]) -> Any:
    """The model with the file's weights, and with no others."""
    import transformers

    architecture = _field(reader, "general.architecture")
    try:
        config = transformers.AutoConfig.from_pretrained(**source)
    except (ValueError, KeyError, NotImplementedError) as error:
        raise UnsupportedModelError(
            f"cannot read a GGUF file of the architecture {architecture!r}: transformers "
            f"{transformers.__version__} does not ({error})"
        ) from None
    except OSError:
        raise _damaged("its metadata cannot be read") from None
    architecture_of(config)
    # Newer versions of transformers may leave weights quantised.
    if hasattr(transformers, "GgufConfig"):
        source = {**source, "quantization_config": transformers.GgufConfig(dequantize=True)}
    loaded: Any = transformers.AutoModelForCausalLM.from_pretrained(
        **source,
        config=config,
        dtype=torch.float32,
        output_loading_info=True,
        # They are told of below, with the missing ones.
        ignore_mismatched_sizes=True,
    )
    hf_model, info = loaded
    check_loaded(hf_model, info, f"its metadata says {architecture}")
    # Tensors whose names transformers does not know it passes over in silence.
    n_stored = sum(int(tensor.n_elements) for tensor in reader.tensors)
    n_read = sum(parameter.numel() for parameter in hf_model.parameters())
    if n_stored != n_read:
        raise UnsupportedModelError(
            f"cannot patch this {architecture} edge by edge: the file holds {n_stored:,} weights "
            f"in {len(reader.tensors)} tensors, of which transformers reads {n_read:,}"
        )
    return hf_model


def _read_tokenizer(reader: GGUFReader, source: dict[str, Any]) -> tuple[Any, str]:
    """The tokenizer and no fault; or None and what is wrong with it."""
    from transformers import AutoTokenizer

    if _field(reader, "tokenizer.ggml.model") is None:
        return None, ""
    try:
        return AutoTokenizer.from_pretrained(**source), ""
    # Plain exceptions, some of them.
    except Exception as error:
        return None, f"{type(error).__name__}: {error}"


@contextlib.contextmanager
def _without_bars() -> Iterator[None]:
    """Keeps a progress bar off the notebook that no setting of transformers turns off."""
    from transformers import modeling_gguf_pytorch_utils as reading

    shown = getattr(reading, "tqdm", None)
    if shown is None:
        yield
        return
    reading.tqdm = partial(shown, disable=True)
    try:
        yield
    finally:
        reading.tqdm = shown
