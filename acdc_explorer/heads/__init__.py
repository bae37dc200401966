"""Attention heads one by one: where they look, what they write, and what they may be."""
