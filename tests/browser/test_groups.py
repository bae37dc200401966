"""Groups in JupyterLab: made by similarity, drawn as one node, opened by a click, and checked."""

from __future__ import annotations

from .lab import LabPage
from .test_explorer import ask


def open_groups(lab: LabPage) -> None:
    lab.page.locator(".acdc-tabs .lm-TabBar-tab", has_text="Groups").last.click()
    lab.page.wait_for_selector(".acdc-groups")


def press(lab: LabPage, text: str) -> None:
    lab.page.locator(".acdc-tabs button", has_text=text).last.click()


def test_heads_are_grouped_opened_and_checked(explorer):
    lab = explorer("n_prompts=32")
    lab.wait_status("done", timeout=60)
    lab.wait_figure("edge-hits")
    open_groups(lab)
    lab.page.wait_for_function(
        "() => [...document.querySelectorAll('.acdc-tabs button')].some("
        "(each) => each.textContent.includes('Group by similarity') && !each.disabled)"
    )
    lab.screenshot("groups-empty")
    press(lab, "Group by similarity")
    row = lab.page.locator(".acdc-groups tbody tr")
    row.first.wait_for()
    groups = "explorer._state.kept['groups']"
    (name,) = ask(lab, f"{groups}['closed']")
    n_members = ask(lab, f"len({groups}['groups']['groups'][0]['nodes'])")
    assert n_members >= 2
    figure = "explorer._graph_view.figure"
    nodes = f"{figure}.widget.data[{figure}._traces['nodes']]"
    assert ask(lab, f"list({nodes}.text)").count(f"×{n_members}") == 1
    lab.page.locator(".acdc-graph").last.scroll_into_view_if_needed()
    lab.wait_figure("edge-hits")
    lab.screenshot("groups-closed")
    lab.click_point("nodes", ask(lab, f"list({nodes}.text).index('×{n_members}')"))
    lab.page.locator(".acdc-groups button", has_text="Close").first.wait_for()
    assert ask(lab, f"{groups}['closed']") == []
    lab.page.locator(".acdc-groups button", has_text="Change").first.click()
    lab.page.locator(".acdc-tabs button", has_text="Change group").last.wait_for()
    inputs = lab.page.locator(".acdc-tabs input[placeholder^='position labels']").last
    inputs.fill("IO")
    lab.page.locator(".acdc-tabs input[placeholder='of the group']").last.fill("name movers")
    press(lab, "Change group")
    row.filter(has_text="name movers").first.wait_for()
    assert ask(lab, f"{groups}['groups']['groups'][0]['inputs']") == ["IO"]
    press(lab, "Check all groups")
    lab.page.locator(".acdc-groups h4", has_text="Outputs exchanged").last.wait_for(timeout=60_000)
    lab.page.locator(".acdc-groups h4").last.scroll_into_view_if_needed()
    lab.screenshot("groups-checked")
    assert ask(lab, "'ax.scrub(' in str(explorer._state.script)")
    # In a narrow window text wraps, and tables scroll.
    lab.page.set_viewport_size({"width": 900, "height": 1000})
    lab.page.wait_for_timeout(500)
    text = lab.page.locator(".acdc-groups h4 + p").last.bounding_box()
    tabs = lab.page.locator(".acdc-tabs").last.bounding_box()
    lab.screenshot("groups-narrow")
    lab.page.set_viewport_size({"width": 1400, "height": 1000})
    assert text["x"] + text["width"] <= tabs["x"] + tabs["width"]
    assert name != "name movers"
