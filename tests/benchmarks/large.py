"""What large models need: seconds and memory of loading, of a sparse search, and of big tables.

`--part models` saves models of the shapes of real ones with random weights in bfloat16, and then,
each in a process of its own, loads one, finds the circuit of IOI whose edges are about as many as
asked for, and tells the memory that the process held after each step and at its peak. `--part
tables` builds, draws and saves circuits of graphs as large as an 8-billion-parameter model's, every
edge of them tested. Prints tables in Markdown.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from transformers import LlamaConfig, PreTrainedConfig, Qwen2Config
from transformers.utils import logging

import acdc_explorer as ax
from acdc_explorer.circuits.circuit import Circuit
from acdc_explorer.circuits.settings import SearchSettings
from acdc_explorer.circuits.steps import EdgeStep, ReceiverStep, Step
from acdc_explorer.engine.cache import engine_for
from acdc_explorer.graph import Edge, Graph, graph_of
from acdc_explorer.searches.order import search_receivers, search_senders

# With the sizes in their config.json on the hub.
SHAPES: dict[str, Callable[..., PreTrainedConfig]] = {
    "Qwen2.5-0.5B": lambda: Qwen2Config(
        vocab_size=151_936, hidden_size=896, intermediate_size=4864, num_hidden_layers=24,
        num_attention_heads=14, num_key_value_heads=2, tie_word_embeddings=True,
    ),
    "Llama-3.2-1B": lambda: LlamaConfig(
        vocab_size=128_256, hidden_size=2048, intermediate_size=8192, num_hidden_layers=16,
        num_attention_heads=32, num_key_value_heads=8, head_dim=64, tie_word_embeddings=True,
    ),
}  # fmt: skip
# Layers and heads: SmolLM2-135M, Llama-3.2-1B, Llama-3.1-8B.
GRAPHS = [(30, 9), (16, 32), (32, 32)]
_GIB = 2**30


def save_random(name: str, folder: str) -> None:
    """A checkpoint in bfloat16, one layer after the other, with the tokenizer of the tests."""
    from transformers import AutoModelForCausalLM

    from tests.bpe import bpe_tokenizer

    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(SHAPES[name](), dtype=torch.bfloat16)
    model.save_pretrained(folder)
    bpe_tokenizer().save_pretrained(folder)


def held() -> str:
    """The memory that the process holds now, and the most it has held."""
    now = psutil.Process().memory_info().rss / _GIB
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / _GIB
    return f"{now:.1f} | {peak:.1f}"


def model_rows(name: str, folder: str, n_prompts: int, n_edges: int) -> None:
    """Loads a model and searches it; a line of the table for each step."""
    logging.set_verbosity_error()

    def timed(step: str, function: Callable[[], Any]) -> Any:
        started = time.perf_counter()
        value = function()
        took = time.perf_counter() - started
        print(f"| {name} | {step} | {took:.1f} s | {held()} |", flush=True)
        return value

    print(f"| {name} | nothing loaded | | {held()} |")
    model = timed("load_model", lambda: ax.load_model(folder, device="cpu"))
    n_weights = sum(p.numel() for p in model.bridge.original_model.parameters())
    task = ax.load_task("ioi", model, n_prompts=n_prompts, seed=0)
    timed("both runs", lambda: ax.evaluate(model, task, []))
    scores = timed("EAP", lambda: ax.attribute(model, task))
    threshold = float(scores.score.abs()[n_edges])
    circuit = timed("search", lambda: ax.find_circuit(model, task, threshold))
    need = engine_for(model, task).memory_need
    print(f"| {name} | estimated beside the weights: {need} | | | |")
    print(
        f"| {name} | {n_weights / 1e6:,.0f}M weights, {model.graph.n_edges:,} edges; "
        f"{n_prompts} prompts x {task.n_positions} tokens; {len(circuit.kept)} edges kept, "
        f"{circuit.n_tested:,} tested | | | |"
    )


def everything_tested(graph: Graph) -> tuple[Step, ...]:
    """The steps of a search that tested every edge and kept one in five hundred."""
    generator, steps = np.random.default_rng(0), list[Step]()
    for receiver in search_receivers(graph):
        steps.append(ReceiverStep(receiver, live=True))
        senders = search_senders(graph, receiver)
        effects = generator.exponential(0.1 / np.log(500), len(senders)).tolist()
        for sender, effect in zip(senders, effects, strict=True):
            edge = Edge(graph.senders[sender], receiver)
            steps.append(EdgeStep(edge, 3.0, 3.0 - effect, kept=effect >= 0.1))
    return tuple(steps)


def table_row(n_layers: int, n_heads: int) -> str:
    from acdc_explorer.explorer.drawing.figure import CircuitFigure
    from acdc_explorer.explorer.drawing.layout import LayerLayout
    from acdc_explorer.explorer.drawing.shown import kept_edges

    graph = graph_of(n_layers, n_heads)
    cells = [f"{n_layers} x {n_heads}: {graph.n_edges:,} edges"]

    def timed(function: Callable[[], Any]) -> Any:
        started = time.perf_counter()
        value = function()
        cells.append(f"{time.perf_counter() - started:.2f} s")
        return value

    steps = timed(lambda: everything_tested(graph))
    settings = SearchSettings(0.1, "0.1")
    circuit = Circuit("m", "t", {}, graph, settings, "logit_diff", 3.0, 0.0, 1.0, steps)
    timed(lambda: repr(circuit))
    timed(lambda: circuit.edges)
    figure = CircuitFigure(print, print, print, print)
    timed(lambda: figure.draw(circuit, kept_edges(circuit), LayerLayout(graph)))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "circuit.json"
        timed(lambda: circuit.save(path))
        cells.append(f"{path.stat().st_size / 1e6:.0f} MB")
        loaded = timed(lambda: Circuit.load(path))
    assert loaded == circuit
    return f"| {' | '.join(cells)} | {held().partition(' | ')[2]} |"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--part", choices=["models", "tables"], default="tables")
    parser.add_argument("--models", nargs="*", choices=SHAPES, default=[*SHAPES])
    parser.add_argument("--n-prompts", type=int, default=16)
    parser.add_argument("--n-edges", type=int, default=30, help="for the threshold of the search")
    options = parser.parse_args(arguments)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads\n")
    if options.part == "tables":
        columns = (
            "graph",
            "steps made",
            "summary",
            "edges",
            "drawing",
            "saving",
            "file",
            "loading",
        )
        print(f"| {' | '.join(columns)} | peak GiB |\n|{'---|' * 9}")
        for shape in GRAPHS:
            print(table_row(*shape), flush=True)
        return
    print("| model | step | seconds | GiB held | most so far |\n|---|---|---|---|---|", flush=True)
    # A process of its own, so that the memory told is of one model alone.
    context = multiprocessing.get_context("spawn")
    for name in options.models:
        with tempfile.TemporaryDirectory() as folder:
            for target, rest in (
                (save_random, ()),
                (model_rows, (options.n_prompts, options.n_edges)),
            ):
                process = context.Process(target=target, args=(name, folder, *rest))
                process.start()
                process.join()
                if process.exitcode:
                    raise SystemExit(process.exitcode)


if __name__ == "__main__":
    main()
