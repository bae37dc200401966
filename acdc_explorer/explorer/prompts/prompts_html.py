"""What is told of prompts, as HTML. Pure functions; all foreign text is escaped."""

from __future__ import annotations

from html import escape

import pandas as pd

from acdc_explorer.circuits.circuit import Circuit
from acdc_explorer.explorer.prompts.prompt_tables import RESULTS
from acdc_explorer.explorer.task_html import prompt_html
from acdc_explorer.explorer.words import plain, with_unit
from acdc_explorer.measures.by_prompt import ANSWER, RUNS, WRONG_ANSWER, ByPrompt
from acdc_explorer.measures.measurement import percent
from acdc_explorer.tasks.task import Task

NOT_YET = (
    "<p>As soon as a search has ended, each prompt stands here by itself: how faithful the circuit "
    "is on it, and whether it is right.</p>"
)
MEASURING = "<p>Measuring the circuit on each prompt …</p>"
EFFECTS = (
    '<div class="acdc-prompt-detail"><h4>What each edge adds</h4>'
    '<p class="acdc-muted">On this prompt: the metric of the circuit minus that without the edge. '
    "Mean: over all prompts, when the search tested it. Click an edge to select it.</p></div>"
)
_RUN_NAMES = {"full": "full model", "circuit": "circuit", "ablated": "all edges removed"}
_SAVED = 20
# Of each run.
TOKENS_SHOWN = 5


def summary_html(found: ByPrompt) -> str:
    """What stands out among the prompts, and what can be done here."""
    # Which model and task it is of stands elsewhere on the page.
    told = str(found).removeprefix(f"{found.model_name} · {found.task_name}, ")
    return (
        f"<p>{escape(told)}</p><p class='acdc-muted'>The prompts on which the circuit fails come "
        "first, then the least faithful. Click one, or go to it by the arrow keys, to see what the "
        "circuit's edges do on it alone.</p>"
    )


def detail_html(
    task: Task, found: ByPrompt, circuit: Circuit, prompt: int, tokens: pd.DataFrame | None
) -> str:
    """One prompt: its text, what is said next, and how faithful the circuit is.

    Args:
        task: that has it.
        found: of all prompts.
        circuit: that was measured.
        prompt: its number.
        tokens: as `top_tokens` gives them; None: they are being measured.
    """
    row = found.prompts.loc[prompt].to_dict()
    metric = escape(circuit.metric_name.replace("_", " "))
    values = ", ".join(
        f"{_RUN_NAMES[run]} {with_unit(plain(row[run]), circuit.metric_unit)}" for run in RUNS
    )
    said = "<p>measuring …</p>" if tokens is None else _tokens(tokens)
    return (
        f'<div class="acdc-prompt-detail" data-prompt="{prompt}">'
        f"<h4>Prompt {prompt}: {RESULTS[row['full_right'], row['circuit_right']]}, faithfulness "
        f"{percent(row['faithfulness'])}</h4>{prompt_html(task, prompt)}"
        f"<p>{metric}: {values}; KL divergence {plain(row['kl'])} nats</p>"
        '<h4>Said next <span class="acdc-muted">(probability, #rank)</span></h4>'
        f"{said}</div>"
    )


def _tokens(tokens: pd.DataFrame) -> str:
    """The most probable tokens of each run, and where the answers stand."""
    by_run = [tokens[tokens.run == run] for run in RUNS]
    head = "".join(f'<th scope="col">{_RUN_NAMES[run]}</th>' for run in RUNS)
    rows = []
    for place in range(min(TOKENS_SHOWN, *map(len, by_run))):
        cells = "".join(f"<td>{_token(of_run.iloc[place])}</td>" for of_run in by_run)
        rows.append(f'<tr><th scope="row">{place + 1}</th>{cells}</tr>')
    for role in (ANSWER, WRONG_ANSWER):
        if not (tokens.role == role).any():
            # Every wrong answer is an answer too.
            continue
        # The best of each comes first.
        best = [of_run[of_run.role == role].iloc[0] for of_run in by_run]
        cells = "".join(f"<td>{_token(each)} (#{each['rank']:,})</td>" for each in best)
        rows.append(f'<tr><th scope="row">{role}</th>{cells}</tr>')
    return (
        '<div class="acdc-wide"><table class="acdc-tokens" aria-label="what is said next"><thead>'
        f"<tr><th></th>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _token(row: pd.Series) -> str:
    """A token, what it is, and its probability."""
    text = row.token if isinstance(row.token, str) else f"token {row.token}"
    shown = escape(text.replace("\n", "↵").strip() or "␣")
    role = {ANSWER: "acdc-answer", WRONG_ANSWER: "acdc-wrong"}.get(row.role)
    named = f'<b class="{role}">{shown}</b>' if role else shown
    return f"{named} {row.probability:.1%}"


def saved_html(found: ByPrompt) -> str:
    """The prompts that stand first, for a page without a kernel."""
    shown = found.worst_first()[:_SAVED]
    rows = "".join(
        f'<tr><td class="num">{number}</td><td>{escape(row["text"])}</td>'
        f"<td>{RESULTS[row['full_right'], row['circuit_right']]}</td>"
        f'<td class="num">{percent(row["faithfulness"])}</td>'
        f'<td class="num">{plain(row["full"])}</td><td class="num">{plain(row["circuit"])}</td>'
        "</tr>"
        for number, row in shown.to_dict("index").items()
    )
    of_all = f" (the first {_SAVED})" if len(found.prompts) > _SAVED else ""
    return (
        f"<h2>Prompt by prompt</h2><p>{escape(str(found))}</p>"
        f"<p>The prompts on which the circuit fails, then the least faithful{of_all}:</p>"
        "<table><tr><th>#</th><th>prompt</th><th>result</th><th>faithfulness</th>"
        f"<th>full model</th><th>circuit</th></tr>{rows}</table>"
    )
