"""How well methods recover the circuits that are known: `python -m tests.benchmarks.ground_truth`.

For every hand-built and every compiled model, and each ablation, the area under the ROC curve of
every method's edge scores (`ax.score_edges`, `ax.recovery`), edges ranked by |score|. Prints two
tables in Markdown: a row for each model, and the methods' means over all of them, and over those
without edges that stand in for one another.
"""

from __future__ import annotations

import argparse

import pandas as pd

import acdc_explorer as ax
from acdc_explorer.measures.edge_scoring import SCORING_METHODS
from acdc_explorer.models.toys import HANDMADE
from acdc_explorer.options import METHOD_NAMES

# Of an OR gate, either input does for both.
WITH_STAND_INS = "or-gate"
NAMES = {**METHOD_NAMES, "exact": "exact, alone"}
MEASURES = ("auc", "auc_pessimistic", "best_f1")


def measured(n_prompts: int, ablations: list[str], decimals: int | None) -> pd.DataFrame:
    """A row for each model, ablation and method, with every measure."""
    rows = []
    for name in HANDMADE:
        model = ax.load_model(name)
        task = ax.load_task(name, model, n_prompts)
        for ablation in ablations:
            for method in SCORING_METHODS:
                scores = ax.score_edges(model, task, method, ablation=ablation)
                if decimals is not None:
                    scores["score"] = scores["score"].round(decimals)
                found = ax.recovery(model, scores, ablation=ablation)
                rows.append(
                    {
                        "model": name,
                        "ablation": ablation,
                        "method": NAMES[method],
                        "edges": found.n_edges,
                        "true edges": len(found.true_edges),
                        **{measure: getattr(found, measure) for measure in MEASURES},
                    }
                )
    return pd.DataFrame(rows)


def print_table(columns: list[str], rows: list[list[str]]) -> None:
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    for row in rows:
        print(f"| {' | '.join(row)} |")
    print()


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--n-prompts", type=int, default=64)
    parser.add_argument("--ablations", nargs="+", default=["zero", "corrupted"])
    # Attention that is all but certain leaves gradients of 1e-40, which still rank edges.
    parser.add_argument(
        "--decimals", type=int, help="that scores are rounded to; else they are not"
    )
    options = parser.parse_args(arguments)

    table = measured(options.n_prompts, options.ablations, options.decimals)
    methods = [NAMES[method] for method in SCORING_METHODS]
    by_model = table.pivot_table(
        index=["ablation", "model", "edges", "true edges"],
        columns="method",
        values="auc",
        sort=False,
    )
    by_model = by_model.sort_index(level="ablation", sort_remaining=False, ascending=False)
    print_table(
        ["ablation", "model", "edges", "true edges", *methods],
        [
            [*map(str, key), *(f"{row[method]:.3f}" for method in methods)]
            for key, row in by_model.iterrows()
        ],
    )
    rows = []
    for of_models, some in (
        ("all", table),
        (f"without {WITH_STAND_INS}", table[table["model"] != WITH_STAND_INS]),
    ):
        for (ablation, method), group in some.groupby(["ablation", "method"], sort=False):
            means = group[list(MEASURES)].mean()
            n_perfect = (group["auc"] > 1 - 1e-9).sum()
            rows.append(
                [
                    ablation,
                    of_models,
                    method,
                    *(f"{value:.3f}" for value in means),
                    f"{n_perfect} of {len(group)}",
                ]
            )
    columns = ["ablation", "models", "method", "AUC", "AUC, ties against", "best F1", "AUC 1"]
    print_table(columns, sorted(rows, key=lambda row: (row[0] != "zero", row[1])))


if __name__ == "__main__":
    main()
