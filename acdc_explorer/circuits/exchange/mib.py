"""A folder as the MIB benchmark's circuit track takes it: `<task>_<model>/importances.json`.

Mueller et al. 2025, arXiv 2504.13151: the file is EAP-IG's JSON, whose scores rank all edges; MIB
takes the first so many of them itself, and does not ask which are kept. Its names are, of tasks,
`ioi`, `mcqa`, `arithmetic-addition`, `arithmetic-subtraction`, `arc-easy` and `arc-challenge`; of
models `gpt2`, `qwen2.5`, `gemma2`, `llama3` and `interpbench`.
"""

from __future__ import annotations

from pathlib import Path

from acdc_explorer.files import write_text

FILES = "importances.json", "importances.pt"


def file_in_folder(folder: Path) -> Path:
    """The file of scores in a folder.

    Raises:
        ValueError: if there is none, naming those of folders in it.
    """
    for name in FILES:
        if (folder / name).is_file():
            return folder / name
    inside = sorted(each.parent.name for name in FILES for each in folder.glob(f"*/{name}"))
    hint = f"; choose one of the folders in it: {', '.join(inside[:12])}" if inside else ""
    raise ValueError(f"the folder has neither {FILES[0]} nor {FILES[1]}{hint}")


def names_of_folder(folder: Path) -> dict[str, str]:
    """The names of task and model, as far as the folder's own name says them."""
    task, _, model = folder.name.partition("_")
    return {"model_name": model, "task_name": task.replace("-", "_")} if task and model else {}


def write_folder(folder: Path, text: str) -> None:
    """Makes the folder, if it is not there, and writes the scores.

    Args:
        folder: of one task and one model.
        text: EAP-IG's JSON.

    Raises:
        ValueError: if its name is no task and model, or it cannot be made or written to.
    """
    if not names_of_folder(folder):
        raise ValueError(
            f"MIB's folders are called <task>_<model>, as 'ioi_gpt2'; got {folder.name!r}"
        )
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise ValueError(f"cannot make the folder {str(folder)!r} ({error.strerror})") from None
    write_text(folder / FILES[0], text)
