"""Errors for ids that are no edge's, receiver's or node's, each with the nearest one that is.

A large model has millions of edges, too many to compare an id with each, as `unknown_name` would.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING

from acdc_explorer.checked_json import shown

if TYPE_CHECKING:
    from acdc_explorer.graph import Graph, Receiver

_LISTED = 12
# How alike ids must be, from 0 to 1; m7 and m1 are half so.
_NEAR = 0.5


def unknown_receiver(graph: Graph, receiver_id: str) -> ValueError:
    """The error for an id that is no receiver's."""
    nearest = _nearest_receiver(graph, receiver_id)
    hint = None if nearest is None else nearest.id
    ids = (receiver.id for receiver in graph.receivers)
    return _unknown("receiver", receiver_id, hint, ids, len(graph.receivers))


def unknown_node(graph: Graph, given: str, node_id: str) -> ValueError:
    """The error for an id that is no node's.

    Args:
        graph: of the model.
        given: what somebody wrote.
        node_id: what it is as an id.
    """
    ids = [node.id for node in graph.nodes]
    nearest = difflib.get_close_matches(node_id.lower(), ids, n=1, cutoff=_NEAR)
    return _unknown("node", given, nearest[0] if nearest else None, ids, len(ids))


def unknown_edge(graph: Graph, given: str, sender_id: str, receiver_id: str) -> ValueError:
    """The error for an id that is no edge's; the nearest one joins the nearest two ends.

    Args:
        graph: of the model.
        given: what somebody wrote.
        sender_id: what it is as ids.
        receiver_id: likewise.
    """
    receiver, hint = _nearest_receiver(graph, receiver_id), None
    if receiver is not None:
        senders = [sender.id for sender in graph.senders[: graph.n_senders_to(receiver)]]
        for sender in difflib.get_close_matches(sender_id.lower(), senders, n=1, cutoff=_NEAR):
            hint = f"{sender}->{receiver.id}"
    return _unknown("edge", given, hint, (edge.id for edge in graph.edges()), graph.n_edges)


def _nearest_receiver(graph: Graph, receiver_id: str) -> Receiver | None:
    whole_id, _, position = receiver_id.partition("@")
    inputs = {each.id: each for node in graph.nodes for each in graph.inputs_of(node)}
    nearest = difflib.get_close_matches(whole_id.lower(), inputs, n=1, cutoff=_NEAR)
    if not nearest:
        return None
    at_labels = {each.position or "": each for each in graph.receivers_at(inputs[nearest[0]])}
    return at_labels[difflib.get_close_matches(position, at_labels, n=1, cutoff=0.0)[0]]


def _unknown(
    what: str, given: str, nearest: str | None, allowed: Iterable[str], n_allowed: int
) -> ValueError:
    """As `unknown_name`, where the nearest match is known and the allowed are many."""
    hint = f" Did you mean {nearest!r}?" if nearest else ""
    first = ", ".join(islice(allowed, _LISTED))
    more = f", … ({n_allowed} in all)" if n_allowed > _LISTED else ""
    return ValueError(f"unknown {what} {shown(given)}.{hint} Allowed: {first}{more}.")
