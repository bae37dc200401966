"""The shapes in the annotations of engine and models hold while a search runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

# In a process of its own: the import hook has to come before the package.
SCRIPT = """
import sys
sys.path.insert(0, sys.argv[1])
from jaxtyping import install_import_hook

with install_import_hook(
    ["acdc_explorer.engine", "acdc_explorer.models", "acdc_explorer.metrics"], "beartype.beartype"
):
    from fuzz import Case, check

checked = [check(Case.of(seed, **fixed)) for seed, fixed in enumerate(CASES)]
print(sum(each.decisions for each in checked))
"""
CASES = [
    {"model": "2x4", "method": "acdc", "ablation": "corrupted", "metric": "logit_diff"},
    {"model": "2x4", "method": "acdc", "ablation": "zero", "slice_size": 1, "metric": "nll"},
    {"model": "llama", "method": "path_patching", "ablation": "mean", "positions": True},
    {"model": "gpt_neox", "method": "acdc", "order": "attribution", "positions": True},
    {"model": "attention-only", "method": "acdc", "split_qkv": False, "metric": "kl_divergence"},
]


@pytest.mark.slow
def test_annotated_shapes_hold():
    script = SCRIPT.replace("CASES", repr(CASES))
    done = subprocess.run(
        [sys.executable, "-c", script, str(Path(__file__).parent)],
        capture_output=True, text=True, check=False, timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    assert int(done.stdout.split()[-1]) > 50
