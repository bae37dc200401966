"""Comparing circuits as the user meets it: pinned, laid over the graph, told in the tab."""

from __future__ import annotations

from .lab import LabPage
from .test_explorer import ask


def open_tab(lab: LabPage) -> None:
    lab.page.locator(".acdc-tabs [role=tab]", has_text="Compare").last.click()
    lab.page.locator(".acdc-compare").last.wait_for()


def counts(lab: LabPage) -> list[int]:
    """Edges of both, only here, only there."""
    lab.page.wait_for_selector(".acdc-compared[data-both]", timeout=30_000)
    data = lab.page.locator(".acdc-compared").last.evaluate("(element) => ({...element.dataset})")
    return [int(data[name]) for name in ("both", "here", "there")]


def shoot(lab: LabPage, name: str, selector: str = ".acdc-key") -> None:
    """A screenshot with something in view."""
    lab.page.locator(selector).last.scroll_into_view_if_needed()
    lab.wait_figure("edge-hits")
    lab.page.wait_for_timeout(300)
    lab.screenshot(name)


def test_a_pinned_circuit_is_laid_over_a_later_one(explorer):
    lab = explorer("'mini', 'ioi', '3%', n_prompts=16")
    lab.wait_status("done", timeout=60)
    lab.wait_figure("edge-hits")
    open_tab(lab)
    shoot(lab, "compare-nothing", ".acdc-tabs")
    lab.page.get_by_role("button", name="Pin this circuit").last.click()
    lab.page.locator("[data-compare='with:pin-1']").last.click()
    assert counts(lab)[1:] == [0, 0]
    lab.run("explorer.threshold = '6%'; explorer.wait(60)")
    lab.page.wait_for_function(
        "() => [...document.querySelectorAll('.acdc-compared')].pop()?.dataset.there > 0"
    )
    shown = counts(lab)
    expected = ask(
        lab,
        "(lambda c: [c.n(where) for where in ('both', 'first', 'second')])"
        "(explorer._state.comparison)",
    )
    assert shown == expected
    lab.wait_figure("only-there")
    shoot(lab, "compare-light")
    shoot(lab, "compare-tab", ".acdc-compared")
    key = lab.page.locator(".acdc-key").last
    assert f"only there ({shown[2]})" in key.inner_text()
    # By keyboard: the part is hidden, and an edge of the list is selected.
    key.locator("[data-part='only-there']").focus()
    lab.page.keyboard.press("Enter")
    lab.page.wait_for_function(
        "() => [...document.querySelectorAll('.acdc-key [data-part=\"only-there\"]')].pop()"
        ".getAttribute('aria-pressed') === 'false'"
    )
    lab.page.keyboard.press("Enter")
    edge = lab.page.locator(".acdc-compared [data-compare^='edge:']").last
    name = edge.get_attribute("data-compare").removeprefix("edge:")
    edge.focus()
    lab.page.keyboard.press("Enter")
    lab.page.wait_for_selector(".acdc-edge-panel[data-effect]", timeout=60_000)
    assert ask(lab, "explorer.selected_edge") == name
    shoot(lab, "compare-selected")
    lab.page.set_viewport_size({"width": 700, "height": 1000})
    shoot(lab, "compare-narrow", ".acdc-compared")
    lab.page.set_viewport_size({"width": 1400, "height": 1000})
    lab.set_theme("JupyterLab Dark")
    lab.run("explorer.selected_edge = None")
    shoot(lab, "compare-dark")
    shoot(lab, "compare-tab-dark", ".acdc-compared")
    lab.set_theme("JupyterLab Light")
    # What changed, by the button of the key.
    lab.page.locator(".acdc-key [data-part='changes']").last.click()
    lab.run("explorer.threshold = '4%'; explorer.wait(60)")
    lab.page.wait_for_selector("[data-compare='with:last'][aria-pressed='true']")
    lab.wait_figure("only-here")
    shoot(lab, "compare-what-changed")
    assert lab.offsite_requests == []
