"""Exact activation patching of edges, by the engine's own functions on the model's weights."""
