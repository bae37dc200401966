"""The explorer on a real language model."""

from __future__ import annotations

import pytest
from real_model import require_smollm2

from .test_explorer import ask, assert_fits, clear_of_nodes, wait_panel


@pytest.mark.slow
def test_smollm2_from_its_name_to_a_clicked_edge(explorer):
    require_smollm2()
    lab = explorer('"smollm2", "ioi", "10%", n_prompts=16')
    lab.wait_status("done", timeout=240)
    lab.wait_figure("edge-hits")
    assert_fits(lab)
    assert ask(lab, "explorer.circuit.model_name") == "smollm2"
    assert 5 < ask(lab, "len(explorer.circuit.kept)") < 50
    assert "weights dequantised from Q4_1" in lab.page.locator(".acdc-status").last.inner_text()
    lab.click_point("edge-hits", clear_of_nodes(lab, 1))
    found = wait_panel(lab, timeout=120)
    assert abs(float(found["effect"])) > 0.1
    # Graphs of that size are screened, which is said, and audited in the background.
    assert ask(lab, "explorer.circuit.settings.screen") == 0.5
    audited = lab.page.locator(".acdc-trust").last
    lab.page.wait_for_function(
        "() => [...document.querySelectorAll('.acdc-trust')].some("
        "trust => /audit \\d+ of \\d+ wrong/.test(trust.textContent))",
        timeout=180_000,
    )
    assert "screened" in audited.inner_text()
    assert_fits(lab)
    lab.page.locator(".acdc-controls").last.scroll_into_view_if_needed()
    lab.screenshot("smollm2")
