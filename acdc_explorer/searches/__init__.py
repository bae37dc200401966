"""Searches for circuits, each a generator of immutable steps."""
