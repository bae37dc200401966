"""Screened searches beside exact ones, on a real language model: seconds, edges, mistakes.

For each threshold the circuit of IOI on SmolLM2-135M, searched with screening and, for those in
`--exact`, with a test for every edge too; then an audit of the screened one. Or, with `--model
gpt2-shape`, on random weights and tokens in GPT-2 small's shape. Prints a table in Markdown, a line
as soon as it is known.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import torch

import acdc_explorer as ax
from tests.benchmarks.search import gpt2_shape, random_task

COLUMNS = (
    "threshold", "screened", "exact", "ratio", "kept", "other than exact", "tested", "faithfulness",
    "held-out", "audit",
)  # fmt: skip


def timed(function: Callable[[], Any]) -> tuple[Any, float]:
    started = time.perf_counter()
    value = function()
    return value, time.perf_counter() - started


def faithfulness(model: Any, task: Any, circuit: ax.Circuit) -> float:
    """Of a circuit on other prompts than it was found on."""
    full, none = (ax.evaluate(model, task, kept=edges) for edges in (circuit.graph.edge_ids, []))
    return (ax.evaluate(model, task, kept=circuit.kept) - none) / (full - none)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--thresholds", nargs="+", default=["10%", "5%", "3%", "2%", "1%"])
    parser.add_argument("--exact", nargs="*", default=["10%", "5%", "3%"])
    parser.add_argument("--screen", type=float, default=0.5)
    parser.add_argument("--n-prompts", type=int, default=16)
    options = parser.parse_args(arguments)

    others = None
    if options.model == "gpt2-shape":
        model, task = ax.load_model(gpt2_shape(12)), random_task(20, 16)
    else:
        model = ax.load_model(options.model)
        task = ax.load_task("ioi", model, n_prompts=options.n_prompts, seed=0)
        others = ax.load_task("ioi", model, n_prompts=64, seed=1)
    # Runs of the prompts and what else is made once.
    ax.find_circuit(model, task, "90%", screen=options.screen)
    print(
        f"torch {torch.__version__}, {torch.get_num_threads()} threads, screen {options.screen}\n"
    )
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}", flush=True)
    for threshold in options.thresholds:
        screened, seconds = timed(
            lambda at=threshold: ax.find_circuit(model, task, at, screen=options.screen)
        )
        cells = [threshold, f"{seconds:.1f} s", "", ""]
        differing = ""
        if threshold in options.exact:
            exact, seconds_exact = timed(lambda at=threshold: ax.find_circuit(model, task, at))
            cells[2:] = [f"{seconds_exact:.1f} s", f"{seconds_exact / seconds:.1f}x"]
            differing = str(len(set(exact.kept) ^ set(screened.kept)))
        audit = ax.audit(model, task, screened, n=300)
        cells += [
            f"{len(screened.kept):,}",
            differing,
            f"{screened.n_tested:,} of {len(screened.decisions):,}",
            f"{screened.faithfulness:.0%}",
            f"{faithfulness(model, others, screened):.0%}" if others else "",
            f"{len(audit.wrong)} of {len(audit.tests)} wrong, < {audit.most_wrong:.1%}",
        ]
        print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
