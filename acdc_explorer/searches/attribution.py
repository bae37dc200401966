"""Edge attribution patching: every edge's effect at once, to first order.

The effect of patching one edge alone in the full model is about

    - (ablated output - clean output of the sender) . gradient of the metric w.r.t. what is read

summed over positions, averaged over prompts (EAP: Syed et al. 2023, arXiv 2310.10348). EAP-IG takes
the mean of gradients at several points on the way from the clean to the ablated embedding instead
of the one at the clean run (Hanna et al. 2024, arXiv 2403.17806, "inputs"). Two forward runs and
one backward run, or as many as there are points; approximate, unlike everything else here.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float
from torch import Tensor

from acdc_explorer.engine.engine import Engine
from acdc_explorer.engine.gradients import input_gradients
from acdc_explorer.engine.linear import linear
from acdc_explorer.errors import unknown_name
from acdc_explorer.graph import LOGITS, Edge, Receiver
from acdc_explorer.searches.steps import EdgeStep, ReceiverStep, SearchSettings, Step

ATTRIBUTIONS = ("eap", "eap_ig")
IG_STEPS = 5
# Of scores that order tests, in the metric's units.
_ORDER_DECIMALS = 9
# Floats of gradients and sender differences in one batch of prompts.
_BATCH_FLOATS = 64_000_000


def edge_scores(
    engine: Engine, method: str = "eap", steps: int = IG_STEPS
) -> Float[np.ndarray, "receiver sender"]:
    """The approximate effect of every edge alone in the full model, in the metric's units.

    Positive: the edge helps, as in `EdgeStep.effect`. Zero where there is no edge.

    Args:
        engine: model, task, ablation, and whether edges have positions.
        method: "eap" or "eap_ig".
        steps: points on the way, for "eap_ig".

    Raises:
        ValueError: for another method, or fewer than one step.
    """
    if method not in ATTRIBUTIONS:
        raise unknown_name("attribution method", method, ATTRIBUTIONS)
    if not isinstance(steps, int) or steps < 1:
        raise ValueError(f"steps must be a whole number from 1 on; got {steps!r}")
    if not engine.metric_has_gradient:
        raise ValueError(
            f"metric {engine.metric.name!r} has no gradient with respect to the logits, which "
            f"method {method!r} and order 'attribution' need"
        )
    graph = engine.graph
    floats = engine.sets.changed.width * engine.weights.W_E.shape[1]
    fitting = max(1, _BATCH_FLOATS // (floats * (len(graph.senders) + 6 * graph.n_heads)))
    scores = np.zeros(graph.edge_mask.shape)
    for part in engine.parts(fitting):
        scores += _sums(part, method, steps)
    return scores / engine.n_prompts


def scores_for_order(engine: Engine) -> Float[np.ndarray, "receiver sender"]:
    """Scores by which order "attribution" sorts, the same on every machine and in every slicing.

    In float64 and rounded, so that scores that differ by rounding alone tie, as they all do under
    KL divergence: at the clean run, its minimum, its gradient is zero.
    """
    return np.round(edge_scores(engine.doubled), _ORDER_DECIMALS)


def _sums(engine: Engine, method: str, steps: int) -> np.ndarray:
    """The scores of some prompts, summed over them."""
    graph = engine.graph
    deltas = engine.deltas(range(len(graph.senders)), engine.sets.changed)
    clean, ablated = engine.clean.resid_pre[0], engine.ablated.resid_pre[0]
    # On the way from clean to ablated; EAP-IG leaves out the clean end.
    shares = [0.0] if method == "eap" else [step / steps for step in range(1, steps + 1)]
    sums = np.zeros(graph.edge_mask.shape)
    for share in shares:
        embedding = clean.lerp(ablated, share) if share else clean
        for wholes, gradients in input_gradients(engine, embedding):
            n_senders = graph.n_senders_to(wholes[0])
            for at_label in zip(*map(graph.receivers_at, wholes), strict=True):
                rows = [graph.receiver_index[receiver] for receiver in at_label]
                products = _products(engine, at_label, gradients, deltas[:n_senders])
                sums[rows, :n_senders] -= products.double().cpu().numpy() / len(shares)
    return sums


def _products(
    engine: Engine, receivers: tuple[Receiver, ...], gradients: Tensor, deltas: Tensor
) -> Float[Tensor, "receiver sender"]:
    """Gradients times differences, summed over prompts and the positions of a label."""
    label, sets = receivers[0].position, engine.sets
    if receivers[0].node == LOGITS:
        at = sets.end
    else:
        at = (
            sets.changed
            if label is None
            else sets.intersection(engine.label_sets[label], sets.changed)
        )
    if not at:
        return gradients.new_zeros((len(gradients), len(deltas)))
    # Prompts with fewer positions repeat one; that must not count twice.
    gradients = at.take(gradients) * at.distinct
    return linear(gradients.flatten(1), sets.changed.move(deltas, at).flatten(1).T)


def attribution_steps(engine: Engine, settings: SearchSettings) -> Iterator[Step]:
    """Keeps every edge whose score reaches the threshold and whose receiver leads to the logits.

    Args:
        engine: model, task, ablation and granularity.
        settings: whose method is "eap" or "eap_ig". `before` and `after` of the steps are the full
            metric and that minus the score.
    """
    graph, full = engine.graph, engine.full_metric
    scores = edge_scores(engine, settings.method)
    live = {LOGITS}
    for receiver in graph.search_receivers(settings.order):
        is_live = receiver.node in live
        yield ReceiverStep(receiver, is_live)
        if not is_live:
            continue
        row = graph.receiver_index[receiver]
        for sender in graph.search_senders(receiver, settings.order, settings.order_seed):
            after = full - float(scores[row, sender])
            change = settings.change(full, after, full, engine.metric.higher_is_better)
            kept = change >= settings.threshold
            if kept:
                live.add(graph.senders[sender])
            yield EdgeStep(Edge(graph.senders[sender], receiver), full, after, kept)
