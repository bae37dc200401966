"""The widget: explore a circuit live in a notebook."""

from acdc_explorer.explorer.explorer import Explorer

__all__ = ["Explorer"]
