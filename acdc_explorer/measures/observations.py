"""What a researcher should know of a circuit besides its scores, in words."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from acdc_explorer.circuits.connected import on_paths
from acdc_explorer.engine.engine import Engine
from acdc_explorer.graph import LOGITS, Node
from acdc_explorer.measures.measurement import percent
from acdc_explorer.measures.scores import evaluated
from acdc_explorer.metrics import METRICS

# A head's direct effect is told from this share of |full - ablated| on.
LEAST_SHARE = 0.03
# A circuit that does more than the full model does so by more than this share.
_OVERSHOOT = 0.01
# Faithfulness by which two ablations, or found and held-out prompts, differ so that it is told.
_FAR_APART = 0.2
# Cells of the masks of circuits that are run together, all of which are in memory.
_MASK_CELLS = 64_000_000
# So many heads are named.
_MOST_NAMED = 6


@dataclass(frozen=True)
class DirectEffect:
    """What a head writes into the logits by itself, in the metric's units.

    Attributes:
        head: the node.
        in_full: in the full model.
        without_writers: with all heads knocked out that write the answer.
    """

    head: Node
    in_full: float
    without_writers: float


@dataclass(frozen=True)
class HeadRoles:
    """Heads by what they write into the logits directly.

    Attributes:
        writers: those that write the answer, in the full model.
        negative: those that write against it.
        backup: those that write the answer, or more of it, only once the writers are knocked out
            (Wang et al. 2022, section 3.4, "backup name movers").
    """

    writers: tuple[DirectEffect, ...]
    negative: tuple[DirectEffect, ...]
    backup: tuple[DirectEffect, ...]


def head_roles(engine: Engine) -> HeadRoles:
    """Which heads write the answer, write against it, or step in for those that write it.

    A head's direct effect is what the metric loses when its edge into the logits alone is removed.
    Those of at least 3% of |full - ablated metric| count that are over two standard errors over the
    prompts. Where the metric is the distance from the full model, which knows no answer, none do.

    Args:
        engine: model, prompts, ablation.
    """
    if engine.metric is METRICS["kl_divergence"]:
        return HeadRoles((), (), ())
    graph = engine.graph
    heads = [node for node in graph.senders if node.kind == "head"]
    least = LEAST_SHARE * abs(engine.full_metric - engine.corrupted_metric)
    everything = graph.edge_mask
    in_full, noise = _direct(engine, everything, heads)
    counts = np.abs(in_full) >= np.maximum(least, noise)
    writes = counts & (in_full > 0)
    knocked_out = everything.copy()
    for head, writer in zip(heads, writes, strict=True):
        if writer:
            knocked_out[:, graph.sender_index[head]] = False
    without, noise_without = _direct(engine, knocked_out, heads)
    backs_up = ~writes & (without >= least) & (without - in_full >= least + noise_without)
    effects = [
        DirectEffect(*each) for each in zip(heads, in_full.tolist(), without.tolist(), strict=True)
    ]

    def chosen(which: Bool[np.ndarray, " head"]) -> tuple[DirectEffect, ...]:
        some = [each for each, taken in zip(effects, which, strict=True) if taken]
        return tuple(sorted(some, key=lambda each: -abs(each.in_full)))

    return HeadRoles(chosen(writes), chosen(counts & (in_full < 0)), chosen(backs_up))


def _direct(
    engine: Engine, kept: Bool[np.ndarray, "receiver sender"], heads: list[Node]
) -> tuple[Float[np.ndarray, " head"], Float[np.ndarray, " head"]]:
    """Each head's direct effect among some edges, and two standard errors of it."""
    graph = engine.graph
    circuits = [kept]
    for head in heads:
        less = kept.copy()
        less[graph.rows_of(LOGITS), graph.sender_index[head]] = False
        circuits.append(less)
    at_once = max(1, _MASK_CELLS // kept.size)
    values = evaluated(engine, circuits, "measuring what heads write into the logits", at_once)
    effects = engine.metric.sign * (values[0] - values[1:])
    n_prompts = effects.shape[1]
    deviation = effects.std(1, ddof=1) if n_prompts > 1 else np.zeros(len(heads))
    return effects.mean(1), 2 * deviation / np.sqrt(n_prompts)


def observations(
    engine: Engine,
    kept: Bool[np.ndarray, "receiver sender"],
    ablations: pd.DataFrame,
    found_faithfulness: float,
) -> tuple[str, ...]:
    """What there is to say of a circuit.

    Args:
        engine: model, the prompts that it is measured on, and the ablation that it was found under.
        kept: the circuit's edges.
        ablations: see `Measurement`.
        found_faithfulness: on the prompts that it was found on.
    """
    faithfulness = float(ablations.faithfulness[engine.ablation])
    roles = head_roles(engine)
    told = [
        *_on_unconnected(engine, kept),
        *_on_overshoot(engine, kept, ablations.loc[[engine.ablation]].iloc[0], roles),
        *_on_prompts(faithfulness, found_faithfulness),
        *_on_ablations(ablations.faithfulness),
        *_on_roles(engine, kept, roles),
    ]
    return tuple(told)


def _on_unconnected(engine: Engine, kept: Bool[np.ndarray, "receiver sender"]) -> list[str]:
    n_kept, n_connected = int(kept.sum()), int(on_paths(engine.graph, kept).sum())
    if n_connected == n_kept:
        return []
    # What carries zeros or a mean without the circuit's edges may still carry something with them.
    nothing = "do nothing" if engine.ablation == "corrupted" else "carry nothing of the prompt"
    return [
        f"{n_kept - n_connected} of {n_kept} kept edges lie on no path from the input to the "
        f"logits, and {nothing}."
    ]


def _on_overshoot(
    engine: Engine,
    kept: Bool[np.ndarray, "receiver sender"],
    row: pd.Series,
    roles: HeadRoles,
) -> list[str]:
    does_the_task = engine.metric.sign * (row.full - row.ablated) > 0
    if not (does_the_task and row.faithfulness_low > 1 + _OVERSHOOT):
        return []
    graph = engine.graph
    missing = [
        each
        for each in roles.negative
        if not kept[graph.rows_of(LOGITS), graph.sender_index[each.head]].any()
    ]
    why = f", as {_named(engine, missing)}" if missing else ""
    return [
        f"The circuit does {percent(row.faithfulness)} of what the full model does: it lacks what "
        f"works against the answer{why}. That is not more faithful than 100%."
    ]


def _on_prompts(faithfulness: float, found: float) -> list[str]:
    if not abs(faithfulness - found) > _FAR_APART:
        return []
    return [
        f"On the prompts that it was found on its faithfulness is {percent(found)}, on these "
        f"{percent(faithfulness)}."
    ]


def _on_ablations(faithfulness: pd.Series) -> list[str]:
    if not faithfulness.max() - faithfulness.min() > _FAR_APART:
        return []
    each = ", ".join(f"{name} {percent(value)}" for name, value in faithfulness.items())
    return [f"How faithful it is depends on what removed edges carry: {each}."]


def _on_roles(
    engine: Engine, kept: Bool[np.ndarray, "receiver sender"], roles: HeadRoles
) -> list[str]:
    told = []
    if roles.negative:
        told.append(
            f"Negative heads write against the answer (+ helps): {_named(engine, roles.negative)}."
        )
    if roles.backup:
        writers = ", ".join(each.head.id for each in roles.writers[:_MOST_NAMED])
        told.append(
            f"Backup heads step in when the heads that write the answer ({writers}) are knocked "
            f"out: {_named(engine, roles.backup, backup=True)}. What they can do, a search that "
            "removes one edge at a time does not see."
        )
    return told


def _named(
    engine: Engine, effects: list[DirectEffect] | tuple[DirectEffect, ...], backup: bool = False
) -> str:
    unit = f" {engine.metric.unit}".rstrip()
    names = [
        f"{each.head.id} ({each.in_full:+.2g}"
        + (f", then {each.without_writers:+.2g}" if backup else "")
        + f"{unit})"
        for each in effects[:_MOST_NAMED]
    ]
    more = len(effects) - _MOST_NAMED
    return ", ".join(names) + (f" and {more} more" if more > 0 else "")
