"""The smallest circuits of some faithfulness, by ACDC and by attribution, on a language model.

IOI on SmolLM2-135M: for each target and method what `find_circuit(..., faithfulness=...)` finds,
how long it takes, and how faithful the circuit is on other prompts. Prints a table in Markdown, a
line as soon as it is known.
"""

from __future__ import annotations

import argparse
import warnings

import torch

import acdc_explorer as ax
from tests.benchmarks.screening import faithfulness, timed

COLUMNS = ("target", "method", "seconds", "edges", "threshold", "faithfulness", "held-out", "audit")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--targets", nargs="+", default=["80%"])
    parser.add_argument("--methods", nargs="+", default=["acdc", "eap_ig"])
    parser.add_argument("--screen", type=float, default=0.5)
    parser.add_argument("--n-prompts", type=int, default=16)
    options = parser.parse_args(arguments)

    model = ax.load_model(options.model)
    task = ax.load_task("ioi", model, n_prompts=options.n_prompts, seed=0)
    others = ax.load_task("ioi", model, n_prompts=64, seed=1)
    # Runs of the prompts and what else is made once.
    ax.find_circuit(model, task, "90%", screen=options.screen)
    warnings.simplefilter("always")
    print(
        f"torch {torch.__version__}, {torch.get_num_threads()} threads, screen {options.screen}\n"
    )
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}", flush=True)
    for target in options.targets:
        for method in options.methods:
            screen = options.screen if method == "acdc" else 0.0
            circuit, seconds = timed(
                lambda target=target, method=method, screen=screen: ax.find_circuit(
                    model, task, faithfulness=target, method=method, screen=screen
                )
            )
            cells = [
                target,
                method,
                f"{seconds:.0f} s",
                f"{len(circuit.kept):,}",
                f"{circuit.threshold:.3g}",
                f"{circuit.faithfulness:.0%}",
                f"{faithfulness(model, others, circuit):.0%}",
            ]
            if screen:
                audit = ax.audit(model, task, circuit, n=300)
                cells.append(f"{len(audit.wrong)} of {len(audit.tests)} wrong")
            print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
