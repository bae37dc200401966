"""A folder as the MIB benchmark's circuit track takes it: `<task>_<model>/importances.json`.

Mueller et al. 2025, arXiv 2504.13151: the file is EAP-IG's JSON, whose scores rank all edges; MIB
takes the first so many of them itself, and does not ask which are kept. Its names are, of tasks,
`ioi`, `mcqa`, `arithmetic-addition`, `arithmetic-subtraction`, `arc-easy` and `arc-challenge`; of
models `gpt2`, `qwen2.5`, `gemma2`, `llama3` and `interpbench`.
"""

from __future__ import annotations

from pathlib import Path

from acdc_explorer.files import write_text

_FILE = "importances.json"
_LISTED = 12


def file_in_folder(folder: Path) -> Path:
    """The file of scores in a folder, whatever its name, as MIB takes it.

    Raises:
        ValueError: if there is none or several, as where each has the edges of a circuit of another
            size; naming these, or the folders in it.
    """
    files = _circuits_in(folder)
    if len(files) == 1:
        return files[0]
    if files:
        choice = f"has several circuits; choose one of them: {_names(files)}"
    else:
        folders = [each for each in sorted(folder.iterdir()) if each.is_dir()]
        inside = [each for each in folders if _circuits_in(each)]
        choice = "has no .json or .pt file"
        choice += f"; choose one of the folders in it: {_names(inside)}" if inside else ""
    raise ValueError(f"the folder {choice}")


def _circuits_in(folder: Path) -> list[Path]:
    return [each for each in sorted(folder.iterdir()) if each.suffix in (".json", ".pt")]


def _names(paths: list[Path]) -> str:
    more = ", …" if len(paths) > _LISTED else ""
    return f"{', '.join(each.name for each in paths[:_LISTED])}{more}"


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
    write_text(folder / _FILE, text)
