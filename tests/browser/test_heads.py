"""The tab "Heads" in a real browser: the table, a head on a prompt, and the ends of an edge."""

from __future__ import annotations

import re

from .lab import LabPage
from .test_edge_table import open_tab
from .test_explorer import ask

PANEL = ".acdc-head-panel"


def open_heads(explorer, arguments: str = "") -> LabPage:
    lab = explorer(arguments)
    lab.wait_status("done", timeout=120)
    lab.wait_figure("edge-hits")
    open_tab(lab, "Heads")
    rows = lab.page.locator(".acdc-row[data-key^=a]")
    rows.first.wait_for(timeout=60_000)
    rows.first.scroll_into_view_if_needed()
    return lab


def wait_head(lab: LabPage, head: str, prompt: int) -> None:
    lab.page.wait_for_selector(f'{PANEL}[data-node="{head}"][data-prompt="{prompt}"]')


def test_a_head_is_chosen_and_its_attention_shown(explorer):
    lab = open_heads(explorer)
    keys = lab.page.locator(".acdc-row[data-key^=a]").evaluate_all(
        "rows => rows.map(row => row.dataset.key)"
    )
    assert keys == ask(
        lab, "ax.describe_heads('mini', 'ioi', explorer.circuit).table.index.tolist()"
    )
    lab.screenshot("heads-none")
    lab.page.locator('.acdc-row[data-key="a3.h0"]').click()
    wait_head(lab, "a3.h0", 0)
    assert ask(lab, "explorer.selected_node") == "a3.h0"
    assert lab.page.locator(f"{PANEL} .acdc-heat").count() == 4
    # Numbers where one points; the same as the library's.
    titles = lab.page.locator(f"{PANEL} .acdc-heat").first.locator("rect title").all_text_contents()
    found = ask(lab, "ax.inspect_head('mini', 'ioi', 'a3.h0').clean.max(1).tolist()")
    last = [title for title in titles if f"[{len(found) - 1}] to" in title]
    largest = max(float(re.search(r": ([\d.]+)$", title)[1]) for title in last)
    assert abs(largest - found[-1]) < 1e-3
    lab.page.locator(f"{PANEL} h3").evaluate("heading => heading.scrollIntoView()")
    lab.screenshot("heads-light")
    lab.page.get_by_title("The next prompt").last.click()
    wait_head(lab, "a3.h0", 1)
    # An edge of the head, and the head at its other end.
    lab.page.locator(f"{PANEL} [data-edge^='a2.h1->a3.h0']").first.click()
    lab.page.locator(".widget-toggle-buttons button", has_text="sender L2H1").last.click()
    wait_head(lab, "a2.h1", 1)
    assert ask(lab, "explorer.selected_edge").startswith("a2.h1->a3.h0")
    lab.set_theme("JupyterLab Dark")
    lab.page.set_viewport_size({"width": 700, "height": 1000})
    lab.page.locator(f"{PANEL} h3").evaluate("heading => heading.scrollIntoView()")
    lab.screenshot("heads-dark-narrow")
    box = lab.page.locator(PANEL).bounding_box()
    for figure in lab.page.locator(f"{PANEL} .acdc-heat").all():
        inner = figure.bounding_box()
        assert inner["x"] + inner["width"] <= box["x"] + box["width"] + 1
    lab.page.set_viewport_size({"width": 1400, "height": 1000})
    lab.set_theme("JupyterLab Light")
    assert lab.offsite_requests == []
