"""Exact activation patching: evaluating circuits of one model on one task."""
