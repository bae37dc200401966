"""Random searches, every option of `find_circuit` among them, against the slow reference.

    python tests/fuzz.py --cases 1000 --start 0

runs many and reports how many decisions were compared; `test_fuzz.py` runs a few.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from conftest import (
    KINDS,
    SHAPES,
    VOCAB,
    attention_only,
    bridge_of,
    random_gpt2,
    random_model,
    ungrouped,
)

from acdc_explorer.circuits.settings import SearchSettings
from acdc_explorer.circuits.steps import EdgeStep, ReceiverStep
from acdc_explorer.engine.engine import Engine
from acdc_explorer.engine.evaluate import evaluate_removed
from acdc_explorer.engine.removed_edges import RemovedEdges
from acdc_explorer.metrics import METRICS, Metric
from acdc_explorer.models.bridge import extract_weights
from acdc_explorer.options import ABLATIONS, ORDERS, RULES
from acdc_explorer.searches.attribution import scores_for_order
from acdc_explorer.searches.methods import circuit_of, search_steps
from acdc_explorer.tasks.task import Task
from acdc_explorer.testing.reference import Reference

MODELS = [*SHAPES, *KINDS, "attention-only"]
FUNCTIONS = ["logit of a token", "entropy, lower is better", "answer by prompt index"]
# transformers computes RMS norms and softmaxes in float32 whatever the model's precision.
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Case:
    """One search; all of it follows from the seed."""

    seed: int
    model: str
    metric: str
    n_prompts: int
    length: int
    ablation: Any
    positions: bool
    split_qkv: bool
    method: str
    rule: Any
    order: Any
    share: float
    replayed_share: float | None
    slice_size: int

    @staticmethod
    def of(seed: int, **fixed: Any) -> Case:
        """The case of a seed, some of it as given."""
        rng = np.random.default_rng(seed)

        def one_of(options: Any) -> Any:
            return options[rng.integers(len(options))]

        n_prompts = int(rng.integers(1, 7))
        drawn: dict[str, Any] = {
            "model": one_of(MODELS),
            "metric": one_of([*METRICS, *FUNCTIONS]),
            "n_prompts": n_prompts,
            "length": int(rng.integers(6, 13)),
            "ablation": one_of(ABLATIONS),
            "positions": bool(rng.random() < 0.3),
            "split_qkv": bool(rng.random() < 0.7),
            "method": one_of(["acdc", "acdc", "path_patching"]),
            "rule": one_of(RULES),
            "order": one_of(ORDERS),
            "share": float(10 ** rng.uniform(-2, -0.3)),
            "replayed_share": float(10 ** rng.uniform(-2, -0.3)) if rng.random() < 0.3 else None,
            "slice_size": int(rng.integers(1, n_prompts + 1)) if rng.random() < 0.4 else n_prompts,
            **fixed,
        }
        if drawn["method"] == "path_patching":
            drawn["rule"] = "abs" if drawn["rule"] == "cumulative" else drawn["rule"]
            drawn["order"] = "default" if drawn["order"] == "attribution" else drawn["order"]
        return Case(seed=seed, **drawn)


@cache
def bridges(model: str) -> tuple[Any, Any]:
    """A bridge for the engine, and one in float64 for the reference."""
    if model == "attention-only":
        return attention_only(), attention_only(torch.float64)
    hf_model = random_gpt2(model) if model in SHAPES else random_model(model)
    return bridge_of(hf_model), bridge_of(ungrouped(hf_model), torch.float64)


def task_of(case: Case, padding: int = 0) -> Task:
    """Prompts that end at different places and begin to differ at different places.

    Args:
        case: whose prompts.
        padding: other padding for other numbers.
    """
    generator = torch.Generator().manual_seed(case.seed)
    n, length = case.n_prompts, case.length

    def tokens(*shape: int) -> torch.Tensor:
        return torch.randint(VOCAB, shape, generator=generator)

    clean, corrupted = tokens(n, length), tokens(n, length)
    end = torch.randint(3, length, (n,), generator=generator)
    middle = (torch.rand(n, generator=generator) * (end - 1)).long()
    for row in range(n):
        agreeing = int(torch.randint(0, int(end[row]) + 1, (1,), generator=generator))
        corrupted[row, :agreeing] = clean[row, :agreeing]
        # Where they are the same by chance up to END, the task would be refused.
        corrupted[row, end[row]] = (clean[row, end[row]] + 1) % VOCAB
    span = torch.zeros(n, length, dtype=torch.bool)
    span[torch.arange(n), end - 1] = True
    answers, wrong = tokens(n), tokens(n)
    after = torch.arange(length) > end[:, None]
    for number in range(padding):
        fill = torch.Generator().manual_seed(number)
        clean[after] = torch.randint(VOCAB, (int(after.sum()),), generator=fill)
        corrupted[after] = torch.randint(VOCAB, (int(after.sum()),), generator=fill)
    # The two labels may not share a token.
    span[torch.arange(n), middle] = False
    positions = {"MIDDLE": middle, "END": end}
    if span.any(1).all():
        positions["SPAN"] = span
    return Task("fuzz", clean, corrupted, answers, wrong, positions, metric_of(case, answers))


def metric_of(case: Case, answers: torch.Tensor) -> Any:
    """A metric by name, or a function that sees all prompts in one circuit at a time."""
    if case.metric == "logit of a token":
        return lambda logits: logits[:, 5] - logits[:, 7]
    if case.metric == "answer by prompt index":
        return lambda logits: logits[torch.arange(len(answers)), answers]
    if case.metric == "entropy, lower is better":

        def entropy(logits, *_):
            logs = logits.log_softmax(-1)
            return -(logs.exp() * logs).sum(-1)

        return Metric("nll", "entropy", "nats", entropy, higher_is_better=False)
    return case.metric


def engine_of(case: Case, task: Task, slice_size: int | None = None) -> Engine:
    """The engine under test."""
    return Engine(
        extract_weights(bridges(case.model)[0]),
        task,
        case.ablation,
        positions=case.positions,
        split_qkv=case.split_qkv,
        slice_size=slice_size,
    )


def settings_of(case: Case, engine: Engine, share: float) -> SearchSettings:
    """The settings at a threshold relative to the larger of the metric and what is to explain."""
    size = max(abs(engine.full_metric), abs(engine.full_metric - engine.corrupted_metric), 1e-3)
    return SearchSettings(
        share * size,
        "",
        method=case.method,
        rule=case.rule,
        order=case.order,
        order_seed=case.seed,
        ablation=case.ablation,
    )


@dataclass
class Compared:
    """What was compared.

    Attributes:
        decisions: of the search, each equal to the reference's.
        kept: how many edges stayed.
        undecidable: whether a change was so close to the threshold that the reference, whose norms
            are float32, cannot tell; what comes after that decision is not compared.
        worst: the largest difference of a metric from the reference's.
    """

    decisions: int
    kept: int
    undecidable: bool
    worst: float


def check(case: Case) -> Compared:
    """Runs one case; raises AssertionError where anything differs from the reference."""
    task = task_of(case)
    engine = engine_of(case, task, case.slice_size)
    settings = settings_of(case, engine, case.share)
    reference = Reference(
        bridges(case.model)[1],
        task,
        case.ablation,
        positions=case.positions,
        split_qkv=case.split_qkv,
    )
    known: list[Any] = []
    if case.replayed_share is not None:
        known = list(search_steps(engine, settings_of(case, engine, case.replayed_share)))
    steps = list(search_steps(engine, settings, known))
    compared = _compare_decisions(case, engine, settings, steps, reference)
    circuit = circuit_of("fuzz", engine, settings, steps)
    low, high = circuit.valid_interval
    assert low < settings.threshold + 1e-6
    assert settings.threshold - 1e-6 <= high
    values = evaluate_removed(engine, [RemovedEdges(circuit.removed_mask)])[0]
    exact = reference.evaluate(circuit.removed_mask)
    compared.worst = max(compared.worst, _difference(values, exact))
    assert abs(circuit.metric_value - exact.mean().item()) < TOLERANCE * _scale(exact)
    assert compared.worst < TOLERANCE, compared.worst
    _compare_padding(case, steps)
    return compared


def _scale(values: torch.Tensor) -> float:
    return max(1.0, values.abs().max().item())


def _difference(values: torch.Tensor, exact: torch.Tensor) -> float:
    """The largest, relative to the size of the metric where that is above one."""
    return (values.double() - exact.double()).abs().max().item() / _scale(exact)


def _compare_decisions(
    case: Case, engine: Engine, settings: SearchSettings, steps: list[Any], reference: Reference
) -> Compared:
    passed_over = {
        step.receiver for step in steps if isinstance(step, ReceiverStep) and not step.live
    }
    got = iter(step for step in steps if isinstance(step, EdgeStep))
    if case.method == "acdc":
        scores = scores_for_order(engine) if case.order == "attribution" else None
        expected = reference.acdc(settings, scores)
    else:
        expected = reference.path_patching(settings)
    compared = Compared(0, 0, False, 0.0)
    full = engine.full_metric
    for exact in expected:
        if exact.edge.receiver in passed_over:
            assert abs(exact.effect) < TOLERANCE, exact
            continue
        mine = next(got)
        assert mine.edge == exact.edge, (mine, exact)
        scale = max(1.0, abs(exact.after))
        difference = max(abs(mine.after - exact.after), abs(mine.before - exact.before)) / scale
        assert difference < TOLERANCE, (mine, exact)
        compared.worst = max(compared.worst, difference)
        if mine.kept != exact.kept:
            better = engine.metric.higher_is_better
            change = settings.change(exact.before, exact.after, full, better)
            assert abs(change - settings.threshold) < TOLERANCE * scale, (mine, exact, change)
            compared.undecidable = True
            return compared
        compared.decisions += 1
        compared.kept += mine.kept
    assert next(got, None) is None
    return compared


def _compare_padding(case: Case, steps: list[Any]) -> None:
    """What stands after END changes nothing, all prompts at once or not."""
    other = engine_of(case, task_of(case, padding=2))
    again = list(search_steps(other, settings_of(case, other, case.share)))
    mine, theirs = (
        [(step.edge, step.kept) for step in each if isinstance(step, EdgeStep)]
        for each in (steps, again)
    )
    assert mine == theirs


def main() -> None:
    """Runs cases until one fails, or all and tells what was compared."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--start", type=int, default=0, help="the first seed")
    parser.add_argument("--model", choices=MODELS)
    parser.add_argument("--ablation", choices=ABLATIONS)
    arguments = parser.parse_args()
    names = ("model", "ablation")
    fixed = {name: value for name in names if (value := getattr(arguments, name)) is not None}
    started, results, failed = time.perf_counter(), [], 0
    for seed in range(arguments.start, arguments.start + arguments.cases):
        case = Case.of(seed, **fixed)
        try:
            results.append(check(case))
        except Exception as error:
            failed += 1
            print(f"{case}: {type(error).__name__}: {error}", flush=True)
    print(
        f"{len(results)} cases agree, {failed} do not; "
        f"{sum(each.decisions for each in results):,} decisions, "
        f"{sum(each.kept for each in results):,} kept, "
        f"{sum(each.undecidable for each in results)} searches met an edge too close to call; "
        f"worst difference {max((each.worst for each in results), default=0.0):.1e}; "
        f"{time.perf_counter() - started:.0f} s"
    )


if __name__ == "__main__":
    main()
