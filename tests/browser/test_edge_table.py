"""The tab "Edges" in a real browser."""

from __future__ import annotations

from .lab import LabPage
from .test_explorer import ask, panel


def open_tab(lab: LabPage, title: str) -> None:
    lab.page.locator(".acdc-tabs .lm-TabBar-tab", has_text=title).last.click()


def test_look(explorer):
    lab = explorer()
    lab.wait_status("done", timeout=60)
    lab.wait_figure("edge-hits")
    open_tab(lab, "Edges")
    lab.page.wait_for_selector(".acdc-row[data-key]")
    lab.page.locator(".acdc-table").last.scroll_into_view_if_needed()
    lab.page.wait_for_timeout(500)
    lab.screenshot("table-light")
    print(lab.console_errors)
    lab.set_theme("JupyterLab Dark")
    lab.page.locator(".acdc-row[data-key]").nth(2).click()
    lab.page.wait_for_timeout(1000)
    lab.screenshot("table-dark")
    print(panel(lab), ask(lab, "explorer.selected_edge"))
    lab.page.set_viewport_size({"width": 700, "height": 1000})
    lab.page.wait_for_timeout(1000)
    lab.page.locator(".acdc-table").last.scroll_into_view_if_needed()
    lab.page.wait_for_timeout(500)
    lab.screenshot("table-narrow")
    lab.page.set_viewport_size({"width": 1400, "height": 1000})
    lab.set_theme("JupyterLab Light")
