"""Edge attribution patching: every edge's effect at once, approximately.

The effect of patching one edge alone in the full model is about

    - (ablated output - clean output of the sender) . gradient of the metric w.r.t. what is read

summed over positions, averaged over prompts (EAP: Syed et al. 2023, arXiv 2310.10348). Where what
heads write together is normed before it reaches the stream, their differences go through the
derivative of that norm. RelP takes the gradient at the clean run as well, but puts rules that
describe large changes better in the place of some derivatives (Jafari et al. 2025, arXiv
2508.21258; `models/backward_rules.py`). The other methods look at several points on the way from
the clean to the ablated embedding:

- EAP-IG takes the mean of the gradients there (Hanna et al. 2024, arXiv 2403.17806, "inputs");
- CEAP, conductance, adds up, over the parts of the way, what the sender's output changes by in a
  part times the gradient at its far end (Wu et al. 2026, arXiv 2606.16920).

CEAP's scores of all edges from some senders to all receivers above them add up to the difference
that the whole way makes to the metric, the more nearly the more points; EAP-IG's do so for edges
from the input. Under ablations "zero" and "mean" the way does not end where all edges are removed:
what such embeddings make the nodes write is not what removed edges carry.

Two forward runs and one backward run, or as many as there are points; approximate, unlike
everything else here.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator

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
from acdc_explorer.metrics import METRICS
from acdc_explorer.models.forward import Run, run_blocks, run_of_blocks
from acdc_explorer.models.linear import linear
from acdc_explorer.options import ATTRIBUTIONS, METHOD_NAMES
from acdc_explorer.progress import Progress, working_on
from acdc_explorer.searches.order import search_receivers, search_senders

IG_STEPS = 5
# The methods that take one gradient, at the clean run.
_OF_CLEAN_RUN = ("eap", "relp")
# From this many edges on a graph is large: to test every edge, or to attribute it at several points
# of the way, takes longer than one wants to wait for something to look at.
LARGE_GRAPH = 10_000
# Of how many prompts edges are attributed ahead of their tests: of so small a share, or at least so
# many.
_PREVIEW_SHARE, _PREVIEW_PROMPTS = 1 / 8, 4
# Of scores that order tests, in the metric's units.
_ORDER_DECIMALS = 9


class Attribution:
    """An attribution under way.

    Attributes:
        method: "eap", "eap_ig", "ceap" or "relp".
        scores: the approximate effect of every edge, once all is done.
    """

    def __init__(
        self,
        engine: Engine,
        method: str = "eap",
        steps: int = IG_STEPS,
        n_prompts: int | None = None,
    ):
        """Begins; arguments as for `edge_scores`.

        Raises:
            ValueError: likewise.
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
        self._engine, self.method = engine, method
        self._wanted = engine.n_prompts if n_prompts is None else min(n_prompts, engine.n_prompts)
        # On the way from clean to ablated, the clean end of which the others leave out.
        at_clean = method in _OF_CLEAN_RUN
        self._shares = [0.0] if at_clean else [n / steps for n in range(1, steps + 1)]
        self._n_done = 0.0
        self.scores: Float[np.ndarray, "receiver sender"] = np.zeros(engine.graph.edge_mask.shape)

    @property
    def progress(self) -> Progress:
        """How far it has come: prompts, each as often as there are points on the way."""
        what = f"attributing every edge ({METHOD_NAMES[self.method]})"
        return Progress(what, int(self._n_done), self._wanted * len(self._shares))

    def advance(self) -> Iterator[None]:
        """Goes through prompts, points and blocks; can be left at any of them.

        What was attributed before on this engine is taken from there.
        """
        known = self._engine.attributions
        for n_prompts in (self._wanted, self._engine.n_prompts):
            key = self.method, len(self._shares), n_prompts
            if key in known:
                self.scores = known[key]
                return
        sums, counted = np.zeros_like(self.scores), 0
        fitting = prompts_attributed(self._engine.weights, self._engine.most_changed_positions)
        for runs in self._engine.batches(min(fitting, self._wanted)):
            if counted + runs.n_prompts > self._wanted:
                runs = runs.of_rows(0, self._wanted - counted)
            deltas, run = self._deltas_of(runs, runs.clean, runs.ablated), runs.clean
            yield
            for share in self._shares:
                before = run
                if share:
                    run = yield from self._run_at(runs, share)
                if self.method == "ceap":
                    deltas = self._deltas_of(runs, before, run)
                yield from self._add_sums(sums, runs, run, deltas)
            counted += runs.n_prompts
            if counted >= self._wanted:
                break
        # A mean over points, but a sum over parts of the way.
        n_summed = 1 if self.method == "ceap" else len(self._shares)
        self.scores = sums / n_summed / counted
        # Others see the same array.
        self.scores.flags.writeable = False
        known[self.method, len(self._shares), self._wanted] = self.scores

    def _deltas_of(
        self, runs: PromptRuns, before: Run, after: Run
    ) -> Float[Tensor, "sender prompt width d_model"]:
        """How what each sender adds to the stream, or to its block's sum, differs in two runs."""
        return runs.between(before, after).all_deltas(runs.sets.changed)

    def _run_at(self, runs: PromptRuns, share: float) -> Generator[None, None, Run]:
        """Runs the model that far on the way from clean to ablated embeddings."""
        blocks = []
        embedding = runs.clean.resid_pre[0].lerp(runs.ablated.resid_pre[0], share)
        for block in run_blocks(self._engine.weights, embedding):
            blocks.append(block)
            yield
        return run_of_blocks(self._engine.weights, blocks)

    def _add_sums(
        self,
        sums: Float[np.ndarray, "receiver sender"],
        runs: PromptRuns,
        run: Run,
        deltas: Float[Tensor, "sender prompt width d_model"],
    ) -> Iterator[None]:
        """Adds the scores of some prompts by the gradients at one point.

        Args:
            sums: to add to.
            runs: of the prompts.
            run: at that point.
            deltas: what the removal of each sender adds.
        """
        graph = self._engine.graph
        linearized = Linearized(self._engine, runs, run, relp=self.method == "relp")
        on_stream = linearized.on_stream(deltas, runs.sets.changed)
        n_before, n_receivers = self._n_done, 0
        for inputs, gradients in linearized.input_gradients():
            n_senders = graph.n_senders_to(inputs[0])
            for at_label in zip(*map(graph.receivers_at, inputs), strict=True):
                rows = [graph.receiver_index[receiver] for receiver in at_label]
                products = _products(runs, at_label, gradients, on_stream[:n_senders])
                sums[rows, :n_senders] -= products.double().cpu().numpy()
                n_receivers += len(rows)
            self._n_done = n_before + runs.n_prompts * n_receivers / len(graph.receivers)
            yield


def edge_scores(
    engine: Engine, method: str = "eap", steps: int = IG_STEPS, n_prompts: int | None = None
) -> Float[np.ndarray, "receiver sender"]:
    """The approximate effect of every edge alone in the full model, in the metric's units.

    Positive: the edge helps, as in `EdgeStep.effect`. Zero where there is no edge.

    Args:
        engine: model, task, ablation, and whether edges have positions.
        method: "eap", "eap_ig", "ceap" or "relp".
        steps: points on the way, for "eap_ig" and "ceap".
        n_prompts: look at the first so many prompts at least; None: at all.

    Raises:
        ValueError: for another method, or fewer than one step.
    """
    return _finished(Attribution(engine, method, steps, n_prompts))


def preview_attribution(engine: Engine) -> Attribution:
    """An attribution of some of the prompts: what is expected until edges are tested.

    Of small graphs EAP-IG, which is nearest to exact effects there; of large ones RelP, which is as
    near on real models in a fraction of the time (tests/benchmarks/README.md). Under KL divergence
    always EAP-IG: the gradient of that metric at the clean run, its minimum, is zero.
    """
    sees_at_clean = engine.metric is not METRICS["kl_divergence"]
    method = "relp" if engine.graph.n_edges >= LARGE_GRAPH and sees_at_clean else "eap_ig"
    n_prompts = max(_PREVIEW_PROMPTS, round(_PREVIEW_SHARE * engine.n_prompts))
    return Attribution(engine, method, n_prompts=n_prompts)


def preview_scores(engine: Engine) -> Float[np.ndarray, "receiver sender"]:
    """The scores of `preview_attribution`; computed once for an engine."""
    return _finished(preview_attribution(engine))


def _finished(attribution: Attribution) -> Float[np.ndarray, "receiver sender"]:
    progress = attribution.progress
    with working_on(progress.what, progress.of) as done:
        for _ in attribution.advance():
            done(attribution.progress.done)
    return attribution.scores


def scores_for_order(engine: Engine) -> Float[np.ndarray, "receiver sender"]:
    """Scores by which order "attribution" sorts, the same on every machine and in every slicing.

    EAP's, though others' are nearer to exact effects: circuits depend on the order.
    In float64 and rounded, so that scores that differ by rounding alone tie, as they all do under
    KL divergence: at the clean run, its minimum, its gradient is zero.
    """
    return np.round(edge_scores(engine.in_float64), _ORDER_DECIMALS)


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
        settings: whose method is an attribution. `before` and `after` of the steps are the full
            metric and that minus the score.
        replay: steps of another threshold; not needed, since scores are made once.
    """
    yield from steps_by_scores(engine, settings, edge_scores(engine, settings.method))


def steps_by_scores(
    engine: Engine, settings: SearchSettings, scores: Float[np.ndarray, "receiver sender"]
) -> Iterator[Step]:
    """The same by given scores.

    Args:
        engine: as for `attribution_steps`.
        settings: likewise, whatever the method.
        scores: approximate effects of all edges.
    """
    graph, full = engine.graph, engine.full_metric
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
