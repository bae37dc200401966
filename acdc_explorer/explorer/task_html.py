"""A task and its prompts, as HTML; all foreign text is escaped."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from acdc_explorer.explorer.words import counted
from acdc_explorer.graph import REST
from acdc_explorer.metrics import NO_TOKEN
from acdc_explorer.tasks.preview import token_places
from acdc_explorer.tasks.prompts import each
from acdc_explorer.tasks.task import Task

_ANSWERS_SHOWN = 6


def task_html(task: Task) -> str:
    """The first prompt with its labels, its corrupted twin, and the answers."""
    first = ". The first one:" if task.n_prompts > 1 else ""
    return (
        f"<h4>Task {escape(task.name)}: {counted(task.n_prompts, 'prompt')}{first}</h4>"
        f"{prompt_html(task, 0)}"
        '<p class="acdc-muted">Marked: the labelled positions; bold: where the corrupted prompt '
        "differs. Both are as long in tokens.</p>"
    )


def prompt_html(task: Task, row: int) -> str:
    """A prompt with its labels, its corrupted twin, and the answers.

    Args:
        task: that has it.
        row: its number.
    """
    answer, wrong_answer = _answers(task, row)
    rows = (
        ("clean", _marked(task, row)),
        ("corrupted", _corrupted(task, row)),
        ("answer", f"{_listed(answer)} against {_listed(wrong_answer)}"),
    )
    return (
        '<table class="acdc-task">'
        + "".join(f'<tr><th scope="row">{name}</th><td>{html}</td></tr>' for name, html in rows)
        + "</table>"
    )


def _clean(task: Task, row: int) -> tuple[str, list[tuple[int, int]]]:
    """A prompt, and where its tokens stand in it; without texts, the tokens' numbers."""
    if task.texts:
        return task.texts[row], token_places(task, row) if task.token_texts else []
    text, places = "", []
    for token in task.clean_tokens[row, : int(task.end[row]) + 1].tolist():
        text += f"{token} "
        places.append((len(text) - 1 - len(str(token)), len(text) - 1))
    return text, places


def _marked(task: Task, row: int) -> str:
    """A prompt with the labelled tokens marked."""
    text, places = _clean(task, row)
    masks = {label: mask[row] for label, mask in task.position_masks.items() if label != REST}
    html, at, here = "", 0, list[str]()
    for token, (start, end) in enumerate(places):
        labels = [label for label, mask in masks.items() if mask[token]]
        if labels != here:
            html += _named(here)
        html += escape(text[at:start])
        if labels and labels != here:
            html += "<mark>"
        html += escape(text[start:end])
        at, here = end, labels
    return html + _named(here) + escape(text[at:])


def _named(labels: Sequence[str]) -> str:
    """Ends a marked stretch, if there is one, with its labels."""
    return f"<sub>{escape(', '.join(labels))}</sub></mark>" if labels else ""


def _corrupted(task: Task, row: int) -> str:
    """A prompt's corrupted twin, other words bold."""
    clean, _ = _clean(task, row)
    if task.pairs:
        corrupted = task.pairs[row].corrupted
    elif task.texts:
        return "only in tokens"
    else:
        tokens = task.corrupted_tokens[row, : int(task.end[row]) + 1].tolist()
        corrupted = "".join(f"{token} " for token in tokens)
    before, after = clean.split(" "), corrupted.split(" ")
    if len(before) != len(after):
        return escape(corrupted)
    return " ".join(
        escape(word) if word == other else f"<b>{escape(word)}</b>"
        for word, other in zip(after, before, strict=True)
    )


def _answers(task: Task, row: int) -> tuple[list[str], list[str]]:
    if task.pairs:
        pair = task.pairs[row]
        return [*each(pair.answer)], [*each(pair.wrong_answer)]
    right, wrong = (
        [f"token {token}" for token in tokens[row].tolist() if token != NO_TOKEN]
        for tokens in (task.answer_tokens, task.wrong_tokens)
    )
    return right, wrong


def _listed(answers: Sequence[str]) -> str:
    shown = " or ".join(f"<b>{escape(text.strip())}</b>" for text in answers[:_ANSWERS_SHOWN])
    more = len(answers) - _ANSWERS_SHOWN
    return shown + (f" or {counted(more, 'other')}" if more > 0 else "")
