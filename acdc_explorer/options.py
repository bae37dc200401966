"""The words that a user may choose from."""

from __future__ import annotations

from typing import Literal, get_args

# What removed edges carry: their corrupted activation, nothing, or the mean over corrupted prompts.
Ablation = Literal["corrupted", "zero", "mean"]
ABLATIONS: tuple[Ablation, ...] = get_args(Ablation)

# In which order edges are tested; see `searches/order.py`.
Order = Literal["default", "ascending_heads", "random", "attribution"]
ORDERS: tuple[Order, ...] = get_args(Order)

# When an edge goes; see `SearchSettings.change`.
Rule = Literal["abs", "signed", "cumulative"]
RULES: tuple[Rule, ...] = get_args(Rule)

# How a circuit is found: two exact searches and four approximate attributions.
Method = Literal["acdc", "path_patching", "eap", "eap_ig", "ceap", "relp"]
METHODS: tuple[Method, ...] = get_args(Method)
ATTRIBUTIONS: tuple[Method, ...] = ("eap", "eap_ig", "ceap", "relp")
# What people call them.
METHOD_NAMES = {
    "acdc": "ACDC",
    "path_patching": "path patching",
    "eap": "EAP",
    "eap_ig": "EAP-IG",
    "ceap": "CEAP",
    "relp": "RelP",
}

# What a search is repeated with, to see whether its circuit depends on it.
VariationKind = Literal["orders", "prompts", "seeds", "thresholds", "templates"]
VARIATIONS: tuple[VariationKind, ...] = get_args(VariationKind)
