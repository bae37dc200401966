"""Attention of heads between position labels, on average over the prompts."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from acdc_explorer.engine.engine import Engine
from acdc_explorer.engine.runs import PromptRuns
from acdc_explorer.graph import REST, Node

OTHER = "other"


def attention_by_label(engine: Engine, head: Node) -> pd.DataFrame:
    """Mean attention of a head in the clean run, from each label (rows) to each label (columns).

    Labels that share a token in a prompt share its attention; "other" is what goes elsewhere.
    """
    return attention_by_labels(engine, [head])[head]


def attention_by_labels(engine: Engine, heads: Sequence[Node]) -> dict[Node, pd.DataFrame]:
    """`attention_by_label` of several heads, for which all prompts are gone through once.

    Args:
        engine: model and prompts.
        heads: one at least.
    """
    masks = {
        label: mask.to(engine.weights.device) for label, mask in engine.task.position_masks.items()
    }
    elsewhere = masks.pop(REST)
    queries = torch.stack(list(masks.values()), 1)  # [prompt, label, pos]
    keys = torch.cat([queries, elsewhere[:, None]], 1).to(engine.weights.dtype)
    # Of a span the mean over its tokens.
    queries = queries / queries.sum(-1, keepdim=True)

    def between(runs: PromptRuns) -> Float[Tensor, "prompt head query_label key_label"]:
        rows = slice(runs.rows.start, runs.rows.stop)
        patterns = (runs.clean.pattern(engine.weights, head) for head in heads)
        tables = [
            torch.einsum("naq,nqk,nbk->nab", queries[rows].to(each), each, keys[rows])
            for each in patterns
        ]
        return torch.stack(tables, 1)

    means = engine.by_slice(between).double().mean(0).cpu().numpy()
    return {
        head: pd.DataFrame(table, index=list(masks), columns=[*masks, OTHER])
        for head, table in zip(heads, means, strict=True)
    }
