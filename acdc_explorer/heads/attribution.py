"""Direct logit attribution: what each node writes towards the answer, by itself.

The logit difference is a sum over nodes once the scale of the final norm is taken as given (Elhage
et al. 2021, A Mathematical Framework for Transformer Circuits; Wang et al. 2022, section 3.1): with
sigma the standard deviation (RMS norm: the root mean square) of the final stream at END,

    logit difference = sum over nodes of (what it writes at END, centred, / sigma * weight) . (mean
    unembedding of the answers - that of the wrong answers) + biases

Sigma is that of the clean run, for what nodes write in the corrupted run too. So the parts of the
clean run sum up to its logit difference, and clean and corrupted parts differ by what the node
writes alone. Where what a block's heads write together passes a norm of its own before it reaches
the stream (Gemma 2 and 3, OLMo 2 and 3), the scale of that norm is taken as given likewise.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from acdc_explorer.arguments import resolve
from acdc_explorer.arithmetic import plain_arithmetic
from acdc_explorer.engine.cache import engine_for
from acdc_explorer.engine.engine import Engine
from acdc_explorer.engine.runs import PromptRuns
from acdc_explorer.engine.scoring import Scoring
from acdc_explorer.models.forward import Run
from acdc_explorer.models.model import ModelLike
from acdc_explorer.models.weights import Norm
from acdc_explorer.progress import working_on
from acdc_explorer.tasks.task import Task

# The part of the logit difference that no node writes.
BIASES = "biases"
# Of the nodes that `__str__` names.
_NAMED = 5


@dataclass(frozen=True, repr=False)
class DirectLogitAttribution:
    """What each node writes towards the answer: its part of the logit difference, in logits.

    The logit difference is the mean logit of a prompt's answers minus that of its wrong answers,
    whatever the task's metric.

    Attributes:
        model_name: of the model.
        task_name: of the task.
        nodes: a row for each node that writes (index: its id), the earliest first, and last one for
            "biases", the part that comes from none of them: those of heads together (b_O), of the
            final norm and of the unembedding. Columns: clean, corrupted, what the node writes on
            clean and on corrupted prompts, means over prompts; difference, clean - corrupted. The
            column `clean` sums up to `logit_difference`.
        clean: the same on each clean prompt (rows: prompts; columns: nodes and "biases").
        corrupted: on each corrupted prompt, through the final norm of its clean one.
        capped: whether the model bends its logits (Gemma 2: cap * tanh(logit / cap)), which is no
            sum: then all of this is of the logits before that.
    """

    model_name: str
    task_name: str
    nodes: pd.DataFrame
    clean: pd.DataFrame
    corrupted: pd.DataFrame
    capped: bool

    @property
    def logit_difference(self) -> float:
        """Of the clean prompts, their mean: answers minus wrong answers, before a cap."""
        return float(self.nodes.clean.sum())

    def __str__(self) -> str:
        """In a few sentences."""
        of_nodes = self.nodes.clean.drop(BIASES)
        towards, against = (
            of_nodes[sign * of_nodes > 0].sort_values(ascending=sign < 0)[:_NAMED]
            for sign in (1, -1)
        )
        told = [
            f"{self.model_name} · {self.task_name}: the logit difference"
            f"{' before the cap' if self.capped else ''} of {self.logit_difference:.3f} is what "
            f"{len(of_nodes)} nodes write and {self.nodes.clean[BIASES]:+.3f} of biases."
        ]
        for name, some in (("Most towards the answer", towards), ("Most against it", against)):
            if len(some):
                parts = ", ".join(f"{node} {value:+.3f}" for node, value in some.items())
                told.append(f"{name}: {parts}.")
        return " ".join(told)

    def __repr__(self) -> str:
        return str(self)


def direct_logit_attribution(model: ModelLike, task: Task | str) -> DirectLogitAttribution:
    """What each node writes into the logits by itself, towards the answer or against it.

    A node's part of the logit difference at END, the scale of the final norm being that of the
    clean run (Elhage et al. 2021; Wang et al. 2022, section 3.1); see `heads/attribution.py` for
    the formula, and for models that norm what a block's heads write together. It tells what a node
    writes, not what would happen without it: later nodes may write the same then.

    Args:
        model: anything that `load_model` takes.
        task: a `Task`, or the name of one.

    Returns:
        Tables of all nodes, whose clean parts sum up to the logit difference.

    Raises:
        ValueError: if the task does not fit the model.
    """
    with plain_arithmetic():
        loaded, task = resolve(model, task)
        return attribution_of(engine_for(loaded, task), loaded.name)


def attribution_of(engine: Engine, model_name: str) -> DirectLogitAttribution:
    """`direct_logit_attribution` on an engine that is there already.

    Args:
        engine: of any ablation.
        model_name: of its model.
    """
    with working_on("attributing the logits to nodes"):
        parts = engine.by_slice(lambda runs: parts_of(runs, engine.scoring)).double().cpu().numpy()
    names = pd.Index([*(node.id for node in engine.graph.senders), BIASES], name="node")
    clean, corrupted = (
        pd.DataFrame(parts[:, run], columns=names).rename_axis("prompt") for run in range(2)
    )
    nodes = pd.DataFrame({"clean": clean.mean(), "corrupted": corrupted.mean()})
    nodes["difference"] = nodes.clean - nodes.corrupted
    capped = engine.weights.logit_cap is not None
    return DirectLogitAttribution(model_name, engine.task.name, nodes, clean, corrupted, capped)


def parts_of(runs: PromptRuns, scoring: Scoring) -> Float[Tensor, "prompt run node"]:
    """Each node's part of the logit difference, and last the biases', on some prompts.

    Args:
        runs: of the prompts.
        scoring: of all prompts.

    Returns:
        Of the clean run, then of the corrupted one.
    """
    weights, clean = runs.weights, runs.clean
    of_rows = slice(runs.rows.start, runs.rows.stop)
    towards, biases = (each[of_rows] for each in scoring.logit_difference)
    towards, bias = _before(weights.ln_final, towards, _at_end(runs, clean.resid_final))
    biases = biases + bias
    columns: list[Tensor] = []
    both = (clean, runs.corrupted)

    def written(outputs: list[Tensor], direction: Tensor) -> Tensor:
        # [run, prompt]
        return torch.einsum("rnd,nd->rn", torch.stack(outputs), direction)

    columns.append(written([_at_end(runs, run.resid_pre[0]) for run in both], towards))
    for layer, block in enumerate(weights.blocks):
        of_heads = towards
        if block.ln1_post is not None:
            head_sum = _at_end(runs, clean.head_sums[layer])
            of_heads, bias = _before(block.ln1_post, towards, head_sum)
            biases = biases + bias
        biases = biases + of_heads @ block.b_O
        # [prompt, head, d_head]
        of_z = torch.einsum("hfd,nd->nhf", block.W_O.to(of_heads), of_heads)
        z = torch.stack([_z_at_end(runs, run, layer) for run in both])
        columns += torch.einsum("rhnf,nhf->hrn", z, of_z).unbind(0)
        if block.mlp is not None:
            columns.append(written([_at_end(runs, run.mlp_out[layer]) for run in both], towards))
    columns.append(biases.expand(2, -1))
    return torch.stack(columns, -1).transpose(0, 1)


def _at_end(
    runs: PromptRuns, stream: Float[Tensor, "prompt pos d_model"]
) -> Float[Tensor, "prompt d_model"]:
    return runs.sets.end.take(stream)[:, 0]


def _z_at_end(runs: PromptRuns, run: Run, layer: int) -> Float[Tensor, "head prompt d_head"]:
    return runs.sets.end.take(run.z[layer].transpose(0, 1))[:, :, 0]


def _before(
    norm: Norm | None,
    direction: Float[Tensor, "prompt d_model"],
    x: Float[Tensor, "prompt d_model"],
) -> tuple[Float[Tensor, "prompt d_model"], Float[Tensor, " prompt"]]:
    """What a direction of a norm's output is of its input, with the scale that it has at x.

    Args:
        norm: or None, which changes nothing.
        direction: of what it puts out.
        x: what it takes in.

    Returns:
        The direction of what it takes in, and what its bias adds besides.
    """
    if norm is None:
        return direction, direction.new_zeros(len(direction))
    weighted = direction * norm.weight
    if norm.bias is None:
        scale = (x.square().mean(-1, keepdim=True) + norm.eps).sqrt()
        return weighted / scale, direction.new_zeros(len(direction))
    scale = (x.var(-1, correction=0, keepdim=True) + norm.eps).sqrt()
    # Centring what is read is centring the direction.
    centred = weighted - weighted.mean(-1, keepdim=True)
    return centred / scale, direction @ norm.bias
