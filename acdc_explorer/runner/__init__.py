"""Searching in a worker thread, without any widget."""
