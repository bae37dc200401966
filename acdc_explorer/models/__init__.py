"""Models: loading them, and what the rest of the package needs of one."""

from acdc_explorer.models.listing import list_models
from acdc_explorer.models.loading import load_model
from acdc_explorer.models.model import Model

__all__ = ["Model", "list_models", "load_model"]
