"""How well attribution says what each edge's removal does: `python -m tests.benchmarks.preview`.

Each method's scores beside the exact effects of removing single edges from the full model, for all
tasks on `mini` (every edge) and for IOI on SmolLM2-135M (the 500 edges that rank highest by any of
the methods, and 500 random ones of the rest); and how faithful circuits of the best edges are, on
the prompts that were attributed. Prints tables in Markdown. Seconds are of processor time.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch

import acdc_explorer as ax
from acdc_explorer.arithmetic import plain_arithmetic
from acdc_explorer.engine.cache import engine_for
from acdc_explorer.engine.engine import Engine
from acdc_explorer.engine.evaluate import evaluate_without_each
from acdc_explorer.measures.edge_scoring import exact_scores
from acdc_explorer.measures.faithfulness_curve import SHARES
from acdc_explorer.searches.attribution import edge_scores
from tests.benchmarks.ground_truth import print_table

# Label -> method, points on the way (None: as many as it takes until the sum rule holds), and how
# many prompts are attributed (None: all).
VARIANTS: dict[str, tuple[str, int | None, int | None]] = {
    "EAP": ("eap", 1, None),
    "RelP": ("relp", 1, None),
    "EAP-IG, 2 points": ("eap_ig", 2, None),
    "EAP-IG, 3 points": ("eap_ig", 3, None),
    "EAP-IG, 5 points": ("eap_ig", 5, None),
    "EAP-IG, 5 points, 4 prompts": ("eap_ig", 5, 4),
    "EAP-IG, 20 points": ("eap_ig", 20, None),
    "CEAP, 3 points": ("ceap", 3, None),
    "CEAP, 5 points": ("ceap", 5, None),
    "EAP-IG, adapted": ("eap_ig", None, None),
}
# Those whose scores take less than a minute of SmolLM2.
QUICK = [name for name, (_, steps, _) in VARIANTS.items() if steps and steps <= 5]
# How near, relative to the whole difference, the sum of the input's edges has to come to it; and
# after how many points it is given up.
SUM_RULE, MOST_POINTS = 0.1, 32
TASKS_OF_MINI = 15
# For SmolLM2, of whose larger circuits each takes seconds.
FEW_SHARES = (0.001, 0.01, 0.1, 1.0)
N_TOP, N_RANDOM = 500, 500


def scored(engine: Engine, variants: list[str]) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """Variant -> score of every edge [receiver, sender], and its seconds."""
    scores, seconds = {}, {}
    for name in variants:
        started = time.process_time()
        method, steps, n_prompts = VARIANTS[name]
        if steps is None:
            scores[name] = adapted_scores(engine)
        else:
            scores[name] = edge_scores(engine, method, steps, n_prompts)
        seconds[name] = time.process_time() - started
    return scores, seconds


def adapted_scores(engine: Engine) -> np.ndarray:
    """EAP-IG's by 2, 4, 8, ... points, until the input's edges add up to the whole difference."""
    difference, steps = engine.full_metric - engine.corrupted_metric, 2
    while True:
        scores = edge_scores(engine, "eap_ig", steps)
        # Column 0 is the sender `input`.
        off = abs(scores[:, 0].sum() - difference)
        if off <= SUM_RULE * abs(difference) or steps >= MOST_POINTS:
            return scores
        steps *= 2


def agreement(scores: np.ndarray, exact: np.ndarray, n_best: int) -> dict[str, float]:
    """How well the scores of some edges agree with their exact effects."""
    sizes, exact_sizes = np.abs(scores), np.abs(exact)
    best, exact_best = (set(np.argsort(-each)[:n_best]) for each in (sizes, exact_sizes))
    ranks, exact_ranks = (pd.Series(each).rank() for each in (sizes, exact_sizes))
    return {
        "Pearson": np.corrcoef(scores, exact)[0, 1],
        "Spearman": np.corrcoef(ranks, exact_ranks)[0, 1],
        "overlap": len(best & exact_best) / n_best,
    }


def areas(
    model: Any, task: ax.Task, scores: Mapping[str, np.ndarray], shares: tuple[float, ...]
) -> pd.DataFrame:
    """CPR by signed scores and CMD by their sizes, as MIB has them, by variant."""
    mask = engine_for(model, task).graph.edge_mask
    ids = engine_for(model, task).graph.edge_ids
    tables = {name: pd.Series(matrix[mask], ids) for name, matrix in scores.items()}
    curve = ax.faithfulness_curve(model, task, tables, held_out=False, shares=shares)
    found = curve.areas.set_index(["axis", "ranking", "method"]).sort_index()
    return pd.DataFrame(
        {
            "CPR": found.loc[("linear", "signed"), "cpr"],
            "CMD": found.loc[("linear", "absolute"), "cmd"],
            "CMD, log axis": found.loc[("log10", "absolute"), "cmd"],
        }
    )


def of_mini(variants: list[str], n_prompts: int, n_tasks: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """By variant the means over tasks; and Pearson's r by task."""
    model, tables, by_task = ax.load_model("mini"), [], {}
    tasks = ax.list_tasks()
    for name in tasks.task[tasks["accuracy on mini"].notna()][:n_tasks]:
        task = ax.load_task(name, model, n_prompts)
        engine = engine_for(model, task)
        scores, seconds = scored(engine, variants)
        mask = engine.graph.edge_mask
        exact = exact_scores(engine)[mask]
        rows = {each: agreement(scores[each][mask], exact, mask.sum() // 100) for each in scores}
        table = pd.DataFrame(rows).T.join(areas(model, task, scores, SHARES))
        tables.append(table.assign(seconds=pd.Series(seconds)))
        by_task[name] = tables[-1]["Pearson"]
    return sum(tables[1:], tables[0]) / len(tables), pd.DataFrame(by_task).T


def print_smollm2(variants: list[str], n_prompts: int) -> None:
    """What is known first is printed first."""
    model = ax.load_model("smollm2")
    task = ax.load_task("ioi", model, n_prompts)
    engine = engine_for(model, task)
    scores, seconds = scored(engine, variants)
    mask = engine.graph.edge_mask
    ranks = [pd.Series(-np.abs(matrix[mask])).rank(method="first") for matrix in scores.values()]
    by_best_rank = np.argsort(np.min(ranks, axis=0), kind="stable")
    rest = np.random.default_rng(0).permutation(by_best_rank[N_TOP:])
    # In the graph's order, so that edges into neighbouring receivers are removed in one batch.
    some = np.sort(np.concatenate([by_best_rank[:N_TOP], rest[:N_RANDOM]]))
    is_top = np.isin(some, by_best_rank[:N_TOP])
    cells = [(int(row), int(column)) for row, column in np.argwhere(mask)[some]]
    started = time.process_time()
    without = evaluate_without_each(engine, np.zeros_like(mask), cells).mean(1).numpy()
    print(f"exact effects of {len(some):,} edges: {time.process_time() - started:.0f} s\n")
    exact, rows = engine.full_metric - without, {}
    for name, matrix in scores.items():
        of_some = matrix[mask][some]
        of_top, of_random = (
            np.corrcoef(of_some[each], exact[each])[0, 1] for each in (is_top, ~is_top)
        )
        rows[name] = {
            **agreement(of_some, exact, N_TOP // 10),
            "Pearson, top": of_top,
            "Pearson, random": of_random,
            "seconds": seconds[name],
        }
    print_numbers("SmolLM2, IOI", pd.DataFrame(rows).T)
    print_numbers("SmolLM2, IOI", areas(model, task, scores, FEW_SHARES))


def print_numbers(first: str, table: pd.DataFrame) -> None:
    formats = {"seconds": "{:.2f}", "overlap": "{:.0%}"}
    rows = [
        [str(name), *(formats.get(column, "{:.3f}").format(row[column]) for column in table)]
        for name, row in table.iterrows()
    ]
    print_table([first, *map(str, table.columns)], rows)
    sys.stdout.flush()


@plain_arithmetic()
@torch.no_grad()
def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--models", nargs="+", default=["mini", "smollm2"])
    parser.add_argument("--variants", nargs="+", choices=list(VARIANTS), help="else: all of them")
    parser.add_argument("--mini-prompts", type=int, default=16)
    parser.add_argument("--mini-tasks", type=int, default=TASKS_OF_MINI)
    parser.add_argument("--n-prompts", type=int, default=16, help="on SmolLM2")
    options = parser.parse_args(arguments)

    if "mini" in options.models:
        variants = options.variants or list(VARIANTS)
        means, by_task = of_mini(variants, options.mini_prompts, options.mini_tasks)
        print_numbers("mini, mean over tasks", means)
        print_numbers("mini, Pearson", by_task)
    if "smollm2" in options.models:
        print_smollm2(options.variants or QUICK, options.n_prompts)


if __name__ == "__main__":
    main()
