"""How much faster the search is than one full forward run for every edge.

Each row is a whole search, timed, and the number of its tests times what one evaluation takes the
slow reference (`testing/reference.py`): the mean over removed sets from the beginning, the middle
and the end of that very search. Both run in this process, one after the other, on the same threads.
Random weights serve for timing. Prints a table in Markdown.
"""

from __future__ import annotations

import argparse
import copy
import resource
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    Olmo2Config,
    PreTrainedConfig,
)
from transformers.utils import logging

import acdc_explorer as ax
from acdc_explorer.circuits.circuit import Circuit
from acdc_explorer.circuits.settings import SearchSettings, parse_threshold
from acdc_explorer.circuits.steps import EdgeStep
from acdc_explorer.engine.engine import Engine
from acdc_explorer.engine.evaluate import evaluate_removed
from acdc_explorer.engine.removed_edges import RemovedEdges
from acdc_explorer.models.bridge import extract_weights
from acdc_explorer.models.forward import run
from acdc_explorer.searches.acdc import acdc_steps
from acdc_explorer.searches.attribution import edge_scores
from acdc_explorer.searches.methods import circuit_of
from acdc_explorer.tasks.task import Task
from acdc_explorer.testing.reference import Reference

COLUMNS = [
    "model, prompts x tokens",
    "threshold",
    "kept",
    "tested",
    "search",
    "per test",
    "reference, per test",
    "ratio",
    "ratio to plain forward runs",
]


def gpt2_shape(n_layers: int) -> GPT2LMHeadModel:
    torch.manual_seed(0)
    return GPT2LMHeadModel(GPT2Config(n_layer=n_layers)).eval()


def bridge_of(hf_model: GPT2LMHeadModel):
    from transformer_lens.model_bridge.sources._bridge_builder import build_bridge_from_module

    hf_model = copy.deepcopy(hf_model)
    return build_bridge_from_module(hf_model, "GPT2LMHeadModel", hf_config=hf_model.config).eval()


def norms_shapes() -> dict[str, PreTrainedConfig]:
    """GPT-2 small's size without norms after sublayers, with them, and with q/k norms as well."""
    size: dict[str, Any] = {
        "num_hidden_layers": 12, "num_attention_heads": 12, "num_key_value_heads": 12,
        "hidden_size": 768, "intermediate_size": 2048, "vocab_size": 50257,
    }  # fmt: skip
    return {
        "LLaMA": LlamaConfig(**size),
        "Gemma 2": Gemma2Config(**size, head_dim=64, query_pre_attn_scalar=64),
        "OLMo 2": Olmo2Config(**size),
    }


def random_task(n_prompts: int, length: int) -> Task:
    """As in IOI: the first tokens agree, and so does the end of the prompt."""
    generator = torch.Generator().manual_seed(0)

    def tokens(*shape: int) -> torch.Tensor:
        return torch.randint(50257, shape, generator=generator)

    clean, corrupted = tokens(n_prompts, length), tokens(n_prompts, length)
    start, end = length // 5, length * 5 // 8
    corrupted[:, :start], corrupted[:, end:] = clean[:, :start], clean[:, end:]
    # Five labels, as in IOI, and the rest.
    places = torch.linspace(start, length - 1, 5).long()
    positions = {f"label {n}": torch.full((n_prompts,), int(at)) for n, at in enumerate(places[:4])}
    return Task("random", clean, corrupted, tokens(n_prompts), tokens(n_prompts), positions)


def reference_seconds(reference: Reference, circuit: Circuit) -> float:
    """What one evaluation takes the reference, at three points of the search."""
    mask = reference.graph.mask_of([])
    marks = {len(circuit.decisions) * tenths // 10 for tenths in (1, 5, 9)}
    seconds = []
    for number, step in enumerate(circuit.decisions):
        if not step.kept:
            mask[reference.graph.cell(step.edge)] = True
        if number in marks:
            started = time.perf_counter()
            reference.evaluate(mask)
            seconds.append(time.perf_counter() - started)
    return sum(seconds) / len(seconds)


def row(name: str, engine: Engine, reference: Reference | None, threshold: float | str) -> str:
    value = parse_threshold(threshold, engine.full_metric, engine.metric)
    settings = SearchSettings(value, str(threshold))
    started = time.perf_counter()
    steps = list(acdc_steps(engine, settings))
    took = time.perf_counter() - started
    circuit = circuit_of(name, engine, settings, steps)
    tested = sum(isinstance(step, EdgeStep) for step in steps)
    told = f"{threshold:.4g}" if isinstance(threshold, float) else threshold
    cells = [name, told, len(circuit.kept), f"{tested:,}", f"{took:.2f} s",
             f"{1000 * took / tested:.2f} ms"]  # fmt: skip
    if reference:
        slow = reference_seconds(reference, circuit)
        tokens = reference.task.clean_tokens
        plain = best(lambda: reference.bridge(tokens, prepend_bos=False), 3)
        ratios = [f"{seconds * tested / took:,.0f}x" for seconds in (slow, plain)]
        cells += [f"{1000 * slow:.0f} ms", *ratios]
    else:
        cells += ["", "", ""]
    return f"| {' | '.join(map(str, cells))} |"


def evaluate_ratios(engine: Engine, reference: Reference) -> str:
    """Arbitrary removed sets against one plain forward run of the same prompts."""
    generator = torch.Generator().manual_seed(0)
    graph = engine.graph
    random = torch.rand(graph.edge_mask.shape, generator=generator).numpy()
    tokens = engine.task.clean_tokens.to(engine.weights.device)
    plain = best(lambda: reference.bridge(tokens, prepend_bos=False))
    own = best(lambda: run(engine.weights, tokens))
    lines = []
    for share in (0.01, 0.5, 0.9, 0.99):
        removed = [RemovedEdges(graph.edge_mask & (random < share))]
        took = best(partial(evaluate_removed, engine, removed))
        lines.append(
            f"| {share:.0%} | {1000 * took:.0f} ms | {took / plain:.2f} | {took / own:.2f} |"
        )
    head = (
        "| removed | evaluate | plain runs of TransformerLens | of the engine |\n|---|---|---|---|"
    )
    return "\n".join(["", head, *lines])


@torch.no_grad()
def best(function, times: int = 5) -> float:
    seconds = []
    for _ in range(times):
        started = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parts = ["mini", "gpt2", "growth", "memory", "positions", "norms"]
    parser.add_argument("--part", choices=parts, default="mini")
    parser.add_argument("--thresholds", nargs="*", default=["0.1", "0.01", "0.0035"])
    options = parser.parse_args(arguments)
    logging.set_verbosity_error()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads\n")
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
    if options.part == "mini":
        model = ax.load_model("mini", device="cpu")
        task = ax.load_task("ioi", model, n_prompts=64, seed=0)
        engine, reference = Engine(model.weights, task), Reference(model.bridge, task)
        for threshold in ("7%", "7%", "1%", "0.3%"):
            print(row("mini, 64 x 20", engine, reference, threshold), flush=True)
        print(evaluate_ratios(engine, reference))
    elif options.part == "gpt2":
        hf_model, task = gpt2_shape(12), random_task(20, 16)
        engine = Engine(extract_weights(bridge_of(hf_model)), task)
        reference = Reference(bridge_of(hf_model), task)
        for threshold in options.thresholds:
            print(row("GPT-2 small, 20 x 16", engine, reference, threshold), flush=True)
        print(evaluate_ratios(engine, reference))
    elif options.part == "growth":
        for n_layers, n_prompts, length in (
            (2, 20, 16), (4, 20, 16), (8, 20, 16), (12, 20, 16), (12, 40, 16), (12, 20, 32),
        ):  # fmt: skip
            weights = extract_weights(bridge_of(gpt2_shape(n_layers)))
            engine = Engine(weights, random_task(n_prompts, length))
            name = f"{n_layers} layers, {n_prompts} x {length}"
            print(row(name, engine, None, "0.01"), flush=True)
    elif options.part == "norms":
        for name, config in norms_shapes().items():
            torch.manual_seed(0)
            model = ax.load_model(AutoModelForCausalLM.from_config(config), device="cpu")
            engine = Engine(model.weights, random_task(20, 16))
            # Thresholds of their own, since effects are of other sizes: about as many edges each.
            scores = np.sort(np.abs(edge_scores(engine)), axis=None)
            for n_edges in (20, 100):
                print(row(f"{name}, 20 x 16", engine, None, float(scores[-n_edges])), flush=True)
    elif options.part == "positions":
        model = ax.load_model("mini", device="cpu")
        task = ax.load_task("ioi", model, n_prompts=64, seed=0)
        weights = extract_weights(bridge_of(gpt2_shape(12)))
        for positions in (False, True):
            kind = "with positions" if positions else "without"
            engine = Engine(model.weights, task, positions=positions)
            for threshold in ("7%", "3%"):
                print(row(f"mini, 64 x 20, {kind}", engine, None, threshold), flush=True)
            engine = Engine(weights, random_task(20, 16), positions=positions)
            for threshold in options.thresholds:
                print(row(f"GPT-2 small, 20 x 16, {kind}", engine, None, threshold), flush=True)
    else:
        engine = Engine(extract_weights(bridge_of(gpt2_shape(12))), random_task(100, 16))
        print(row("GPT-2 small, 100 x 16", engine, None, "0.01"))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"\npeak memory of this process: {peak:.2f} GiB")


if __name__ == "__main__":
    main()
