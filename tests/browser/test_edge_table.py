"""The tab "Edges" in a real browser: thousands of rows, sorted, filtered, gone through, chosen."""

from __future__ import annotations

import csv
import io

from .lab import LabPage
from .test_explorer import ask, wait_panel

# Other tabs have tables too.
TABLE = ".acdc-table:visible"
GRID, ROWS = f"{TABLE} .acdc-grid", f"{TABLE} .acdc-row[data-key]"


def open_tab(lab: LabPage, title: str) -> None:
    lab.page.locator(".acdc-tabs .lm-TabBar-tab", has_text=title).last.click()


def open_table(explorer, arguments: str = "") -> LabPage:
    lab = explorer(arguments)
    lab.wait_status("done", timeout=60)
    lab.wait_figure("edge-hits")
    open_tab(lab, "Edges")
    lab.page.wait_for_selector(ROWS)
    lab.page.locator(GRID).scroll_into_view_if_needed()
    return lab


def keys(lab: LabPage) -> list[str]:
    """Of the rows that are drawn."""
    return lab.page.locator(ROWS).evaluate_all("rows => rows.map(row => row.dataset.key)")


def wait_count(lab: LabPage, text: str) -> None:
    lab.page.locator(f"{TABLE} .acdc-count", has_text=text).wait_for()


def wait_selected(lab: LabPage, edge: str) -> None:
    """Until the panel tells of an edge."""
    lab.page.wait_for_selector(f'.acdc-edge-panel[data-edge="{edge}"]')


def test_rows_and_the_graph_are_linked(explorer):
    lab = open_table(explorer)
    kept = ask(lab, "explorer.circuit.edges.query(\"state == 'kept'\").edge.tolist()")
    assert {*keys(lab)} <= {*kept}
    wait_count(lab, f"{len(kept)} edges")
    second = keys(lab)[1]
    lab.page.locator(ROWS).nth(1).click()
    assert wait_panel(lab)["edge"] == second
    assert ask(lab, "explorer.selected_edge") == second
    chosen = lab.page.locator(f'{ROWS}[aria-selected="true"]')
    assert chosen.get_attribute("data-key") == second
    # The arrow keys go on from there, and rest where they are let go of.
    third, fourth = keys(lab)[2:4]
    lab.page.locator(GRID).focus()
    lab.page.keyboard.press("ArrowDown")
    wait_selected(lab, third)
    lab.page.keyboard.press("ArrowDown")
    wait_selected(lab, fourth)
    lab.page.keyboard.press("Home")
    wait_selected(lab, keys(lab)[0])
    assert lab.page.locator(GRID).get_attribute("aria-activedescendant")
    last = kept[-1]
    lab.run(f"explorer.selected_edge = {last!r}")
    lab.page.locator(f'{ROWS}[data-key="{last}"][aria-selected="true"]').wait_for()
    lab.screenshot("table-light")
    removed = ask(lab, "explorer.circuit.removed[0]")
    lab.run(f"explorer.selected_edge = {removed!r}")
    wait_count(lab, "the selected edge is not among these")
    assert lab.console_errors == []


def test_sorted_and_filtered(explorer):
    lab = open_table(explorer)
    table = ask(lab, "explorer.circuit.edges.query(\"state == 'kept'\").to_dict('list')")
    kept = dict(zip(table["edge"], table["order"], strict=True))
    lab.page.locator(f"{TABLE} .acdc-head button", has_text="order").click()
    assert keys(lab) == sorted(kept, key=lambda edge: -kept[edge])[: len(keys(lab))]
    lab.page.locator(f"{TABLE} .acdc-head button", has_text="order").press("Enter")
    assert keys(lab) == sorted(kept, key=kept.get)[: len(keys(lab))]
    heading = lab.page.locator(f"{TABLE} .acdc-head [role=columnheader]", has_text="order")
    assert heading.get_attribute("aria-sort") == "ascending"
    lab.page.locator(f"{TABLE} .acdc-find").fill("0.1")
    with_head = [edge for edge in kept if "a0.h1" in edge]
    assert {*keys(lab)} == {*with_head}
    wait_count(lab, f"{len(with_head)} of {len(kept)} edges")
    lab.page.locator(TABLE).get_by_label("q/k/v", exact=True).select_option("v")
    of_values = [edge for edge in with_head if "<v>" in edge]
    assert {*keys(lab)} == {*of_values}
    lab.page.locator(f"{TABLE} .acdc-find").fill("nowhere")
    lab.page.locator(TABLE).get_by_text("No row matches").wait_for()
    lab.page.locator(f"{TABLE} .acdc-find").fill("")
    lab.page.locator(TABLE).get_by_label("q/k/v", exact=True).select_option("")
    wait_count(lab, f"{len(kept)} edges")


def test_rows_are_checked_copied_removed_and_restored(explorer):
    lab = open_table(explorer)
    lab.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    n_kept = ask(lab, "len(explorer.circuit.kept)")
    first, *_, fourth = keys(lab)[:4]
    lab.page.locator(f'{ROWS}[data-key="{first}"] input').click()
    lab.page.locator(f'{ROWS}[data-key="{fourth}"]').click(modifiers=["Shift"])
    wait_count(lab, "4 checked")
    assert ask(lab, "explorer.selected_edge") is None, "checking selects nothing"
    lab.page.locator(TABLE).get_by_role("button", name="Copy as CSV").click()
    wait_count(lab, f"copied {n_kept} rows")
    copied = lab.page.evaluate("navigator.clipboard.readText()")
    rows = [*csv.DictReader(io.StringIO(copied))]
    effects = ask(lab, "explorer.circuit.edges.set_index('edge').effect.dropna().to_dict()")
    assert len(rows) == n_kept
    assert all(float(row["effect"]) == effects[row["edge"]] for row in rows)
    assert [row["edge"] for row in rows][: len(keys(lab))] == keys(lab)
    lab.page.locator(TABLE).get_by_role("button", name="Remove 4").click()
    wait_count(lab, f"{n_kept - 4} edges")
    assert ask(lab, "len(explorer.circuit.kept)") == n_kept - 4
    lab.page.locator(".acdc-part:visible").get_by_role("button", name="removed", exact=True).click()
    lab.page.locator(TABLE).get_by_label("Marks").select_option("by hand")
    assert len(keys(lab)) == 4
    lab.set_theme("JupyterLab Dark")
    lab.screenshot("table-dark")
    lab.set_theme("JupyterLab Light")
    lab.page.locator(GRID).focus()
    lab.page.keyboard.press("ArrowDown")
    wait_panel(lab, "edge")
    lab.page.locator(TABLE).get_by_role("button", name="Restore").click()
    wait_count(lab, "3 of")
    assert ask(lab, "len(explorer.circuit.kept)") == n_kept - 3
    assert lab.console_errors == []


def test_two_thousand_rows(explorer):
    """All edges of the model: a few dozen rows are there at a time, wherever one scrolls to."""
    lab = open_table(explorer)
    n_edges = ask(lab, "explorer.circuit.graph.n_edges")
    lab.page.locator(".acdc-part:visible").get_by_role("button", name="all", exact=True).click()
    wait_count(lab, f"{n_edges:,} edges")
    grid = lab.page.locator(GRID)
    assert 10 < len(keys(lab)) < 60
    assert int(grid.get_attribute("aria-rowcount")) == n_edges + 1
    lab.page.locator(GRID).focus()
    lab.page.keyboard.press("End")
    lab.page.locator(f'{ROWS}[aria-rowindex="{n_edges + 1}"][aria-selected="true"]').wait_for()
    assert 10 < len(keys(lab)) < 60
    wait_selected(lab, keys(lab)[-1])
    lab.page.set_viewport_size({"width": 700, "height": 1000})
    grid.scroll_into_view_if_needed()
    head, row = (
        lab.page.locator(f"{each} >> nth=0").evaluate(
            "each => [...each.children].map(cell => Math.round(cell.getBoundingClientRect().left))"
        )
        for each in (f"{TABLE} .acdc-head", ROWS)
    )
    assert head == row, "headings stand above their columns"
    lab.screenshot("table-narrow")
    lab.page.set_viewport_size({"width": 1400, "height": 1000})
    assert wait_panel(lab)["edge"] == ask(lab, "explorer.selected_edge")
