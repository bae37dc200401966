"""Edge attribution patching: every edge's effect at once, to first order.

The effect of patching one edge alone in the full model is about

    - (ablated output - clean output of the sender) . gradient of the metric w.r.t. what is read

summed over positions, averaged over prompts (EAP: Syed et al. 2023, arXiv 2310.10348). Where what
heads write together is normed before it reaches the stream, their differences go through the
derivative of that norm. EAP-IG takes the mean of gradients at several points on the way from the
clean to the ablated embedding instead of the one at the clean run (Hanna et al. 2024, arXiv
2403.17806, "inputs"). Two forward runs and one backward run, or as many as there are points;
approximate, unlike everything else here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from jaxtyping import Float
from torch import Tensor

from acdc_explorer.circuits.settings import SearchSettings
from acdc_explorer.circuits.steps import EdgeStep, ReceiverStep, Step
from acdc_explorer.engine.engine import Engine
from acdc_explorer.engine.gradients import Linearized
from acdc_explorer.engine.memory import prompts_attributed
from acdc_explorer.engine.runs import PromptRuns
from acdc_explorer.errors import unknown_name
from acdc_explorer.graph import LOGITS, Edge, Receiver
from acdc_explorer.models.linear import linear
from acdc_explorer.options import ATTRIBUTIONS, METHOD_NAMES
from acdc_explorer.progress import working_on
from acdc_explorer.searches.order import search_receivers, search_senders

IG_STEPS = 5
# Of scores that order tests, in the metric's units.
_ORDER_DECIMALS = 9


def edge_scores(
    engine: Engine, method: str = "eap", steps: int = IG_STEPS, n_prompts: int | None = None
) -> Float[np.ndarray, "receiver sender"]:
    """The approximate effect of every edge alone in the full model, in the metric's units.

    Positive: the edge helps, as in `EdgeStep.effect`. Zero where there is no edge.

    Args:
        engine: model, task, ablation, and whether edges have positions.
        method: "eap" or "eap_ig".
        steps: points on the way, for "eap_ig".
        n_prompts: look at the first so many prompts, or a few more; None: at all.

    Raises:
        ValueError: for another method, or fewer than one step.
    """
    if method not in ATTRIBUTIONS:
        raise unknown_name("attribution method", method, ATTRIBUTIONS)
    if not isinstance(steps, int) or steps < 1:
        raise ValueError(f"steps must be a whole number from 1 on; got {steps!r}")
    if not engine.scoring.has_gradient:
        raise ValueError(
            f"metric {engine.metric.name!r} has no gradient with respect to the logits, which "
            f"method {method!r} and order 'attribution' need"
        )
    graph = engine.graph
    fitting = prompts_attributed(engine.weights, engine.most_changed_positions)
    wanted = engine.n_prompts if n_prompts is None else n_prompts
    # On the way from clean to ablated; EAP-IG leaves out the clean end.
    shares = [0.0] if method == "eap" else [step / steps for step in range(1, steps + 1)]
    scores, counted, n_runs = np.zeros(graph.edge_mask.shape), 0, 0
    with working_on(
        f"attributing every edge ({METHOD_NAMES[method]})", wanted * len(shares)
    ) as done:
        for runs in engine.batches(min(fitting, wanted)):
            for sums in _sums(engine, runs, shares):
                scores += sums / len(shares)
                n_runs += runs.n_prompts
                done(n_runs)
            counted += runs.n_prompts
            if counted >= wanted:
                break
    return scores / counted


def scores_for_order(engine: Engine) -> Float[np.ndarray, "receiver sender"]:
    """Scores by which order "attribution" sorts, the same on every machine and in every slicing.

    In float64 and rounded, so that scores that differ by rounding alone tie, as they all do under
    KL divergence: at the clean run, its minimum, its gradient is zero.
    """
    return np.round(edge_scores(engine.in_float64), _ORDER_DECIMALS)


def _sums(engine: Engine, runs: PromptRuns, shares: Sequence[float]) -> Iterator[np.ndarray]:
    """The scores of some prompts, summed over them, by the gradients at each of some points.

    What they have in common is let go of with the last one.

    Args:
        engine: model and metric.
        runs: of the prompts.
        shares: how far each point is on the way from the clean to the ablated embedding.
    """
    deltas = runs.deltas(range(len(engine.graph.senders)), runs.sets.changed)
    clean, ablated = runs.clean.resid_pre[0], runs.ablated.resid_pre[0]
    for share in shares:
        embedding = clean.lerp(ablated, share) if share else clean
        yield _sums_at(engine, runs, embedding, deltas)


def _sums_at(
    engine: Engine,
    runs: PromptRuns,
    embedding: Float[Tensor, "prompt pos d_model"],
    deltas: Float[Tensor, "sender prompt width d_model"],
) -> np.ndarray:
    """The same at one point, whose run is let go of before the next one's."""
    graph = engine.graph
    linearized = Linearized(engine, runs, embedding)
    on_stream = linearized.on_stream(deltas, runs.sets.changed)
    sums = np.zeros(graph.edge_mask.shape)
    for inputs, gradients in linearized.input_gradients():
        n_senders = graph.n_senders_to(inputs[0])
        for at_label in zip(*map(graph.receivers_at, inputs), strict=True):
            rows = [graph.receiver_index[receiver] for receiver in at_label]
            products = _products(runs, at_label, gradients, on_stream[:n_senders])
            sums[rows, :n_senders] -= products.double().cpu().numpy()
    return sums


def _products(
    runs: PromptRuns, receivers: tuple[Receiver, ...], gradients: Tensor, deltas: Tensor
) -> Float[Tensor, "receiver sender"]:
    """Gradients times differences, summed over prompts and the positions of a label."""
    label, sets = receivers[0].position, runs.sets
    if receivers[0].node == LOGITS:
        at = sets.end
    elif label is None:
        at = sets.changed
    else:
        at = sets.intersection(runs.label_set(label), sets.changed)
    if not at:
        return gradients.new_zeros((len(gradients), len(deltas)))
    # Prompts with fewer positions repeat one; that must not count twice.
    gradients = at.take(gradients) * at.distinct
    return linear(gradients.flatten(1), sets.changed.move(deltas, at).flatten(1).T)


def attribution_steps(
    engine: Engine, settings: SearchSettings, replay: Iterable[Step] = ()
) -> Iterator[Step]:
    """Keeps every edge whose score reaches the threshold and whose receiver leads to the logits.

    Args:
        engine: model, task, ablation and granularity.
        settings: whose method is "eap" or "eap_ig". `before` and `after` of the steps are the full
            metric and that minus the score.
        replay: steps of another threshold; not needed, since scores are quickly made.
    """
    graph, full = engine.graph, engine.full_metric
    scores = edge_scores(engine, settings.method)
    live = {LOGITS}
    for receiver in search_receivers(graph, settings.order):
        is_live = receiver.node in live
        yield ReceiverStep(receiver, is_live)
        if not is_live:
            continue
        row = graph.receiver_index[receiver]
        for sender in search_senders(graph, receiver, settings.order, settings.order_seed):
            after = full - float(scores[row, sender])
            change = settings.change(full, after, full, engine.metric.higher_is_better)
            kept = change >= settings.threshold
            if kept:
                live.add(graph.senders[sender])
            yield EdgeStep(Edge(graph.senders[sender], receiver), full, after, kept)
