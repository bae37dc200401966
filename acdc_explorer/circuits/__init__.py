"""Circuits as plain data: what a search found, and its file."""
