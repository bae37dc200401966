"""Prompts by the template that they were made from, as far as their words tell."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from acdc_explorer.graph import END, REST
from acdc_explorer.tasks.task import Task

# A template with fewer prompts than this has no circuit to speak of; and those that have as many
# must hold at least this share of all prompts.
_LEAST_PROMPTS, _LEAST_SHARE = 4, 0.5


def prompts_by_template(task: Task) -> dict[str, list[int]]:
    """Groups a task's prompts by their template.

    The template of a prompt is its tokens, with the label in the place of each labelled one and of
    any that says the same again: "The <noun> lasted from the year <XX> <YY> to the year <XX>".
    Where that leaves too few prompts in a group, since other words vary as well, it is the order in
    which the labels come: of IOI "IO … S1 … S2" and "S1 … IO … S2".

    Args:
        task: whose prompts; it must know their labels, and their tokens in words.

    Returns:
        Template -> numbers of its prompts, the most frequent first; only templates with at least
        four prompts. Empty if there are fewer than two of them, or if most prompts are of none.
    """
    for template_of in (_words, _label_order):
        groups = _groups(task, template_of)
        if len(groups) > 1 and sum(map(len, groups.values())) >= _LEAST_SHARE * task.n_prompts:
            return groups
    return {}


def _groups(
    task: Task, template_of: Callable[[Sequence[str], Mapping[int, str]], str]
) -> dict[str, list[int]]:
    groups: dict[str, list[int]] = {}
    for row in range(task.n_prompts):
        end = int(task.end[row]) + 1
        labels = {
            token: label
            for label, mask in task.position_masks.items()
            if label not in (END, REST)
            for token in mask[row].nonzero().flatten().tolist()
        }
        # Without their words all prompts look alike, but for their labels.
        words = task.token_texts[row][:end] if task.token_texts else [""] * end
        groups.setdefault(template_of(words, labels), []).append(row)
    large = {name: rows for name, rows in groups.items() if len(rows) >= _LEAST_PROMPTS}
    return dict(sorted(large.items(), key=lambda item: -len(item[1])))


def _words(words: Sequence[str], labels: Mapping[int, str]) -> str:
    """A prompt's words, labelled ones replaced by their labels wherever they occur."""
    label_of_word = {words[token].strip(): label for token, label in labels.items()}
    shown: list[str] = []
    for token, word in enumerate(words):
        label = labels.get(token, label_of_word.get(word.strip()))
        piece = word.strip() if label is None else f"<{label}>"
        # A label of several tokens is told once.
        if label is None or shown[-1:] != [piece]:
            shown.append(piece)
    return " ".join(shown)


def _label_order(words: Sequence[str], labels: Mapping[int, str]) -> str:
    """A prompt's labels in the order in which they come."""
    return " … ".join(dict.fromkeys(labels[token] for token in sorted(labels)))
