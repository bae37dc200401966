"""What the explorer's file buttons hand out and take in."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from typing import Any

from acdc_explorer.circuits.circuit import Circuit
from acdc_explorer.circuits.exchange.shapes import UntoldModelError
from acdc_explorer.explorer.session import Session
from acdc_explorer.models.loading import load_model
from acdc_explorer.models.model import ModelLike
from acdc_explorer.runner.state import Request
from acdc_explorer.tasks.task import Task


def made_file(
    kind: str, circuit: Circuit | None, svg: str | None, session: Session | None = None
) -> tuple[str, str, str] | None:
    """A file to save.

    Args:
        kind: "png", "svg", "json" or "session".
        circuit: what is shown.
        svg: its picture.
        session: for that kind.

    Returns:
        Its name, its type and its text, of a PNG the SVG to make it of; None: there is nothing yet.
    """
    if circuit is None or svg is None:
        return None
    of_what = circuit.model_name, circuit.task_name, circuit.settings.threshold_text
    stem = re.sub(r"[^\w.%-]+", "_", "-".join(of_what))
    if session is not None:
        return f"{stem}.session.json", "application/json", session.to_json()
    types = {"png": ("image/png", svg), "svg": ("image/svg+xml", svg),
             "json": ("application/json", circuit.to_json() if kind == "json" else "")}  # fmt: skip
    return f"{stem}.{kind}", *types[kind]


def request_of(circuit: Circuit, present: Request, shown: Circuit | None) -> Request:
    """Asks for a circuit that was saved, of whose decisions nothing is tested again.

    Args:
        circuit: from a file.
        present: the request before.
        shown: the circuit before: if it is of the same model or prompts, these are kept, which need
            not have come from a name.

    Returns:
        The request; of a circuit from another tool's file, which no search leads to again, the one
        before, for circuits of the same edges.
    """
    settings, task_options = circuit.settings, circuit.task_options
    options: dict[str, Any] = {
        "method": settings.method,
        "rule": settings.rule,
        "order": settings.order,
        "order_seed": settings.order_seed,
        "ablation": settings.ablation,
        "screen": settings.screen,
        "positions": bool(circuit.graph.labels),
        "split_qkv": circuit.graph.split_qkv,
        "replay": circuit,
    }
    if circuit.imported:
        of_edges = {name: options[name] for name in ("positions", "split_qkv")}
        return replace(present, options={**present.options, **of_edges})
    request = replace(
        present, threshold=settings.threshold_text, faithfulness=None, options=options,
        other_task=False,
    )  # fmt: skip
    same_model = shown is not None and shown.model_name == circuit.model_name
    if not same_model:
        request = replace(request, model=circuit.model_name)
    same_task = (
        same_model
        and shown is not None
        and (shown.task_name, shown.task_options) == (circuit.task_name, task_options)
    )
    if not same_task:
        n_prompts = task_options.get("n_prompts", present.n_prompts)
        seed = task_options.get("seed", present.seed)
        request = replace(request, task=circuit.task_name, n_prompts=n_prompts, seed=seed)
    return request


def read_session(
    path: str | os.PathLike[str], model: ModelLike | None, task: Task | str | None, device: str
) -> tuple[Session, ModelLike | None]:
    """Reads the file that an explorer is to go on from.

    Args:
        path: of a session, or of a circuit of any format.
        model: that it is of; None: what the file says.
        task: likewise.
        device: for a model given by name.

    Returns:
        What is in the file, and the model, which is loaded by now if the file is a list of edges
        that does not say of what model it is.

    Raises:
        ValueError: as `Session.from_file`; or if neither the file nor the arguments say of what
            model and task it is.
    """
    try:
        session = Session.from_file(path)
    except UntoldModelError:
        if model is None:
            raise
        model = load_model(model, device)
        session = Session.from_file(path, model.graph)
    imported = session.circuit.imported
    if imported and (model is None or task is None):
        raise ValueError(
            f"{imported.origin} does not say on what model and prompts it was found: give model= "
            "and task="
        )
    return session, model
