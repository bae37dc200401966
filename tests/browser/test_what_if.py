"""Switching edges off and on in the page, by mouse and by keyboard; the script of what was done."""

from __future__ import annotations

from .test_explorer import ask, clear_of_nodes, wait_panel


def wait_changes(lab, n: int) -> None:
    """Waits until the page tells of so many changes by hand."""
    lab.page.wait_for_function(
        "(n) => [...document.querySelectorAll('.acdc-changes > p b')].pop()?.textContent"
        ".match(/\\d+/g)?.reduce((sum, each) => sum + Number(each), 0) === n"
        " || (n === 0 && !document.querySelector('.acdc-changes'))",
        arg=n,
        timeout=20_000,
    )


def button(lab, text: str):
    return lab.page.locator(".acdc-what-if button", has_text=text)


def test_an_edge_is_switched_off_undone_and_switched_off_again(explorer):
    lab = explorer('"mini", "ioi", "3%"')
    lab.wait_status("done", timeout=60)
    lab.wait_figure("edge-hits")
    before = ask(lab, "explorer.circuit.faithfulness")
    hit = clear_of_nodes(lab, 0)
    lab.click_point("edge-hits", hit)
    wait_panel(lab)
    edge = ask(lab, "explorer.selected_edge")
    button(lab, "Remove").click()
    wait_changes(lab, 1)
    assert ask(lab, f"{edge!r} in explorer.circuit.removed")
    after = ask(lab, "explorer.circuit.faithfulness")
    assert after != before
    told = lab.page.locator(".acdc-changes").last.text_content()
    assert f"{before:.1%}" in told
    assert f"{after:.1%}" in told
    lab.page.locator(".acdc-changes", has_text="says first").wait_for()
    lab.page.locator(".acdc-status", has_text="by hand: 1 removed").wait_for()
    lab.page.locator('.acdc-key [data-part="by-hand"]').wait_for()
    lab.wait_figure("hand-marks")
    lab.screenshot("what-if")
    # From the keyboard, in the graph.
    lab.page.locator(".acdc-graph").last.focus()
    lab.page.keyboard.press("u")
    wait_changes(lab, 0)
    assert ask(lab, "explorer.circuit.by_hand == ()")
    lab.page.locator(".acdc-graph").last.focus()
    lab.page.keyboard.press("r")
    wait_changes(lab, 1)
    lab.page.locator(".acdc-graph").last.focus()
    lab.page.keyboard.press("x")
    wait_changes(lab, 0)
    # By a double click on the line, though it is drawn anew after the first of the two.
    # However busy the machine is.
    lab.run("from acdc_explorer.explorer import circuit_widget; circuit_widget._DOUBLE_CLICK = 60")
    lab.page.locator(".acdc-graph").last.scroll_into_view_if_needed()
    lab.click_point("edge-hits", hit)
    lab.click_point("edge-hits", hit)
    wait_changes(lab, 1)
    assert ask(lab, f"{edge!r} in explorer.circuit.removed")
    button(lab, "Reset").click()
    wait_changes(lab, 0)


def test_the_selection_is_as_high_as_the_graph_and_below_it_where_there_is_no_room(explorer):
    lab = explorer('"mini", "ioi", "7%", n_prompts=16')
    lab.wait_status("done", timeout=60)
    lab.run("explorer.selected_edge = explorer.circuit.kept[0]")
    wait_panel(lab)

    def boxes():
        names = ".acdc-graph", ".acdc-side", ".acdc-tabs"
        return [lab.page.locator(name).last.bounding_box() for name in names]

    lab.page.set_viewport_size({"width": 1600, "height": 1000})
    graph, side, tabs = boxes()
    assert side["x"] >= graph["x"] + graph["width"]
    assert side["y"] + side["height"] <= tabs["y"] + 1
    assert tabs["y"] - (graph["y"] + graph["height"]) < 120
    lab.page.set_viewport_size({"width": 900, "height": 1000})
    lab.page.wait_for_function(
        "() => { const box = (name) => [...document.querySelectorAll(name)].pop()"
        ".getBoundingClientRect(); return box('.acdc-side').top > box('.acdc-graph').bottom }"
    )
    graph, side, tabs = boxes()
    assert side["y"] + side["height"] <= tabs["y"] + 1
    # Restored for the tests that follow on the same context.
    lab.page.set_viewport_size({"width": 1400, "height": 1000})


def test_the_script_is_shown_and_copied(explorer):
    lab = explorer('"mini", "ioi", "7%", n_prompts=16')
    lab.wait_status("done", timeout=60)
    lab.page.locator(".acdc-tabs .lm-TabBar-tab", has_text="Script").last.click()
    script = lab.page.locator(".acdc-copy-text pre").last
    script.filter(has_text="ax.find_circuit(model, task, threshold='7%'").wait_for()
    lab.page.locator(".acdc-copy-text p", has_text="ACDC (Conmy et al., 2023)").wait_for()
    lab.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    lab.page.locator(".acdc-copy").first.click()
    lab.page.locator(".acdc-copy", has_text="Copied").wait_for()
    copied = lab.page.evaluate("() => navigator.clipboard.readText()")
    assert copied == ask(lab, "str(explorer._state.script)")
    lab.screenshot("script")
