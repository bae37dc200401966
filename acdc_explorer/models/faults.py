"""What can be wrong with a model that is loaded, and how it is told."""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Collection, Iterator

import torch

# What libraries raise for files and configurations that are not what they should be.
_FAULTS = (
    OSError,
    RuntimeError,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    ImportError,
    AssertionError,
)
# Advice in other libraries' messages that would have the user run a model's code, read pickles as
# they are, or install what would not help.
_ADVICE = re.compile(r"weights_only|trust_remote_code|ignore_mismatched|install", re.IGNORECASE)


class UnsupportedModelError(ValueError):
    """The engine cannot reproduce this model, and says why."""


class FaultyModelError(ValueError):
    """What is wrong with a model; `told_of` adds which one."""


def first(names: Collection[str], *, quoted: bool = True) -> str:
    """The first three of some names."""
    shown = [repr(name) if quoted else name for name in sorted(names)[:3]]
    return ", ".join([*shown, *(["..."] if len(names) > 3 else [])])


@contextlib.contextmanager
def told_of(what: str) -> Iterator[None]:
    """Keeps notices out of the notebook while a model loads, and says which one did not."""
    from transformers.utils import logging as transformers_logging

    logger = logging.getLogger("transformers")
    level, bars = logger.level, transformers_logging.is_progress_bar_enabled()
    logger.setLevel(logging.ERROR)
    transformers_logging.disable_progress_bar()
    try:
        yield
    except UnsupportedModelError:
        raise
    except FaultyModelError as error:
        raise ValueError(f"cannot load the model in {what!r}: {error}") from None
    except torch.OutOfMemoryError:
        raise
    except _FAULTS as error:
        told = f"cannot load the model in {what!r}: {type(error).__name__}"
        if _ADVICE.search(str(error)):
            raise ValueError(f"{told} in TransformerLens or transformers") from None
        raise ValueError(f"{told}: {error}") from error
    finally:
        logger.setLevel(level)
        if bars:
            transformers_logging.enable_progress_bar()
