"""What a model is called wherever it is shown: never by the path to it."""

from __future__ import annotations

import os
from pathlib import Path

GGUF_SUFFIX = ".gguf"


def is_path(name: str) -> bool:
    """Whether a name can only be meant as a path, be it there or not."""
    starts = name.startswith((".", "/", "~")) or Path(name).is_absolute()
    return starts or name.count("/") > 1


def short_name(name: str) -> str:
    """A folder's or file's own name; any other name, as one on the hub, as it is.

    Args:
        name: a model's name, or the path of its folder or file. A GGUF file's name is shown
            without its suffix.
    """
    path = Path(name).expanduser()
    if not (is_path(name) or path.exists()):
        return name
    # Not resolved: of a link, the link's name.
    own = Path(os.path.abspath(path))
    return own.stem if own.suffix.lower() == GGUF_SUFFIX else own.name
