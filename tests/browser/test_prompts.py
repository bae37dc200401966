"""The tab "Prompts" in a real browser: a prompt picked, its edges, templates, failures."""

from __future__ import annotations

from .lab import LabPage
from .test_edge_table import open_tab, wait_selected
from .test_explorer import ask

# The tab has two tables.
PROMPTS, EFFECTS = ".acdc-table:visible >> nth=0", ".acdc-table:visible >> nth=1"
ROWS = ".acdc-row[data-key]"


def keys(lab: LabPage, table: str) -> list[str]:
    """Of the rows of a table that are drawn."""
    rows = lab.page.locator(table).locator(ROWS)
    return rows.evaluate_all("rows => rows.map(row => row.dataset.key)")


def test_a_prompt_is_picked_and_its_edges_are_gone_through(explorer):
    lab = explorer("n_prompts=32")
    lab.wait_status("done", timeout=60)
    lab.wait_figure("edge-hits")
    open_tab(lab, "Prompts")
    lab.page.locator(PROMPTS).locator(ROWS).first.wait_for()
    of = "explorer._runner.snapshot().task, explorer.circuit"
    lab.run(f"of = ax.load_model('mini'), {of}\nfound = ax.by_prompt(*of)", timeout=120)
    worst = ask(lab, "found.worst_first().index.tolist()")
    fails = ask(lab, "found.fails")
    shown = keys(lab, PROMPTS)
    assert shown == [str(row) for row in worst[: len(shown)]]
    lab.page.locator(PROMPTS).locator(ROWS).nth(1).click()
    detail = lab.page.locator(f'.acdc-prompt-detail[data-prompt="{worst[1]}"] .acdc-tokens')
    detail.wait_for()
    effects = ask(lab, f"ax.prompt_effects(*of, {worst[1]}).edge.tolist()")
    assert keys(lab, EFFECTS) == effects[: len(keys(lab, EFFECTS))]
    lab.page.locator(EFFECTS).locator(ROWS).nth(2).click()
    wait_selected(lab, effects[2])
    assert ask(lab, "explorer.selected_edge") == effects[2]
    lab.screenshot("prompts-light")
    lab.page.get_by_role("button", name="Draw the graph by these").click()
    lab.page.get_by_text(f"Drawn by what edges add on prompt {worst[1]} alone").wait_for()
    # By the keyboard to the next prompt.
    lab.page.locator(PROMPTS).locator(".acdc-grid").focus()
    lab.page.keyboard.press("ArrowDown")
    lab.page.wait_for_selector(f'.acdc-prompt-detail[data-prompt="{worst[2]}"]')
    lab.page.get_by_text(f"Drawn by what edges add on prompt {worst[2]} alone").wait_for()
    lab.page.locator(".acdc-graph").last.scroll_into_view_if_needed()
    lab.screenshot("prompts-graph")
    lab.page.locator(PROMPTS).get_by_label("Result").select_option("✗ circuit fails")
    assert {*keys(lab, PROMPTS)} == {str(row) for row in fails}
    lab.page.locator(PROMPTS).get_by_label("Result").select_option("")
    lab.page.locator(PROMPTS).get_by_role("button", name="Group by template").click()
    heading = lab.page.locator(PROMPTS).locator(".acdc-row.heading").first.inner_text()
    assert heading.split(" · ")[0] in ask(lab, "found.by_template.index.tolist()")
    lab.set_theme("JupyterLab Dark")
    lab.screenshot("prompts-dark")
    lab.page.set_viewport_size({"width": 700, "height": 1000})
    lab.page.locator(".acdc-tokens").scroll_into_view_if_needed()
    box = lab.page.locator(".acdc-part:visible").last.bounding_box()
    for part in (".acdc-prompt-detail[data-prompt]", EFFECTS):
        inner = lab.page.locator(part).bounding_box()
        assert inner["x"] + inner["width"] <= box["x"] + box["width"] + 1, "nothing is cut off"
    lab.screenshot("prompts-narrow")
    lab.page.set_viewport_size({"width": 1400, "height": 1000})
    lab.set_theme("JupyterLab Light")
    assert lab.console_errors == []
