"""One verification, measurement, study of stability or path on 1, 2, ... workers: seconds, gain.

`--part mini` is IOI on the bundled model, `--part smollm2` IOI on SmolLM2-135M. "here" is this
process with one thread, as every worker has. Workers are started, and have loaded model and
prompts, before the clock starts. Prints a table in Markdown, a line as soon as it is known.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import torch

import acdc_explorer as ax
from acdc_explorer.engine.cache import engine_for
from acdc_explorer.engine.references import EngineReference
from acdc_explorer.workers.executor import local_executor
from acdc_explorer.workers.gathering import gather

# Of mini, so that there is something to do.
MINI_THRESHOLD, SMOLLM2_THRESHOLD = "0.1%", "5%"


def calls(part: str, screen: float) -> tuple[Any, Any, ax.Circuit, dict[str, Callable[..., Any]]]:
    """Model, task, a screened circuit; and what to measure, by name, of an executor."""
    model = ax.load_model(part)
    task = ax.load_task("ioi", model, n_prompts=64 if part == "mini" else 16, seed=0)
    threshold = MINI_THRESHOLD if part == "mini" else SMOLLM2_THRESHOLD
    circuit = ax.find_circuit(model, task, threshold, screen=screen)
    verifying = {"verify": lambda executor: ax.verify(model, task, circuit, executor=executor)}
    if part != "mini":
        return model, task, circuit, verifying
    found = ax.find_circuit(model, task, "7%")
    return (
        model,
        task,
        circuit,
        verifying
        | {
            "measure": lambda executor: ax.measure(model, task, found, executor=executor),
            "stability": lambda executor: ax.stability(model, task, n=10, executor=executor),
            "threshold_path": lambda executor: ax.threshold_path(
                model, task, seconds=600, executor=executor
            ),
        },
    )


def summary(result: Any) -> Any:
    """What has to be the same however many workers there are."""
    if isinstance(result, ax.Circuit):
        return result.kept
    if isinstance(result, ax.Stability):
        return [run.kept for run in result.runs]
    if isinstance(result, ax.ThresholdPath):
        return [circuit.kept for circuit in result.circuits]
    return result.random.as_near.tolist(), result.edges.edge.tolist()


def get_ready(reference: EngineReference) -> None:
    """Loads the model and runs the prompts, in every worker: it takes so long that each has one."""
    reference.engine()
    reference.fingerprint_here()
    time.sleep(2)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--part", choices=["mini", "smollm2"], default="mini")
    parser.add_argument("--workers", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--only", nargs="+", help="names of calls, as verify")
    parser.add_argument("--screen", type=float, default=0.5)
    options = parser.parse_args(arguments)

    torch.set_num_threads(1)
    model, task, circuit, to_measure = calls(options.part, options.screen)
    print(
        f"torch {torch.__version__}, one thread each; {options.part}, {task.n_prompts} prompts, "
        f"{len(circuit.kept)} edges kept, {circuit.n_screened:,} screened\n"
    )
    columns = ["call", "here", *(f"{n} workers" for n in options.workers), "gain", "same result"]
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}", flush=True)
    executors = {n: local_executor(n) for n in options.workers}
    reference = EngineReference.of(model, engine_for(model, task))
    for n, executor in executors.items():
        list(gather(executor, get_ready, [reference] * n))
    for name, call in to_measure.items():
        if options.only and name not in options.only:
            continue
        seconds, results = [], []
        for executor in (None, *executors.values()):
            started = time.perf_counter()
            results.append(summary(call(executor)))
            seconds.append(time.perf_counter() - started)
        cells = [name, *(f"{each:.1f} s" for each in seconds), f"{seconds[0] / seconds[-1]:.2f}x"]
        same = "yes" if all(result == results[0] for result in results) else "no"
        print(f"| {' | '.join([*cells, same])} |", flush=True)
    for executor in executors.values():
        executor.shutdown()


if __name__ == "__main__":
    main()
