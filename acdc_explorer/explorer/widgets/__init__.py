"""Widgets with scripts of their own, which know nothing of circuits."""
