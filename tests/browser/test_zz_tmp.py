import time
from . import test_explorer as t
def test_look(explorer):
    lab = explorer
    page = lab.page
    t.ask(lab, "explorer.edit(remove=explorer.circuit.kept[:2], restore=explorer.circuit.removed[-1:])")
    page.wait_for_selector(".acdc-changes")
    edge = t.ask(lab, "explorer.circuit.kept[0]")
    lab.run(f"explorer.selected_edge = {edge!r}")
    t.wait_panel(lab)
    time.sleep(1)
    lab.screenshot("hand")
    box = page.locator(".acdc-explorer").last
    box.screenshot(path=str(lab.screenshots/"hand-whole.png"))
