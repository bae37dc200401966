"""Colours and styles. Colours have a contrast of 3:1 or more on white and on JupyterLab dark."""

from __future__ import annotations

KIND_COLOURS = {"q": "#0072B2", "k": "#B87A00", "v": "#009E73", "other": "#767676"}
KIND_NAMES = {
    "q": "Q-composition",
    "k": "K-composition",
    "v": "V-composition",
    "other": "into an MLP or the logits",
}
SELECTED_COLOUR = "#C72C86"
# Edges that attribution expects, before the search has come to them.
PREVIEW_COLOUR = "#8C6BB1"
# Kept edges that lie on no path from the input to the logits; and edges beside a selection, and
# untested ones, whose lines are thin.
UNCONNECTED_COLOUR = "#767676"
DIMMED_COLOUR = "#808080"
# Of what was removed or restored by hand.
BY_HAND_COLOUR = "#D55E00"
# Around edges that a circuit has and the one it is compared with has not; and of those that only
# the other one has.
ONLY_HERE_COLOUR, ONLY_HERE_WIDTH, ONLY_HERE_OPACITY = "#14B8CC", 9.0, 0.5
ONLY_THERE_COLOUR = "#CC3344"
# Of edges that a smaller share than this of repeated searches keeps.
STEADY_SHARE, SELDOM_OPACITY = 0.8, 0.4
# Of lines, by the size of the effect.
WIDTHS = (1.5, 2.8, 4.8)
DASHES = {"hurts": "3px,3px", "preview": "7px,5px", "unconnected": "10px,6px",
          "by-hand": "2px,4px", "only-there": "9px,3px,2px,3px"}  # fmt: skip
CURVE_COLOURS = {"exact": "#0072B2", "eap": "#B87A00", "eap_ig": "#C72C86"}
POSITIVE, NEGATIVE = "#0072B2", "#D55E00"

CSS = """
<style>
.acdc-explorer { color: var(--jp-content-font-color1, #222); }
.acdc-explorer .acdc-graph .xtick text, .acdc-explorer .acdc-graph .ytick text {
  fill: var(--jp-content-font-color1, #222) !important; }
.acdc-explorer .acdc-graph > .js-plotly-plot { width: 100%; height: 100%; min-width: 0; }
.acdc-explorer .acdc-graph > :not(.js-plotly-plot) { display: none; }
.acdc-explorer .acdc-graph:focus-visible { outline-offset: -2px;
  outline: 2px solid var(--jp-brand-color1, #1976d2); }
.acdc-explorer .acdc-graph > .acdc-no-graph { display: block; padding: 2em; }
/* Once its kernel is gone: the last state, that nothing in it acts any more, and how to go on. */
.acdc-explorer .jupyter-widgets-disconnected::before { display: none !important; }
.acdc-explorer.jupyter-widgets-disconnected > * { opacity: .5; pointer-events: none; }
.acdc-explorer.jupyter-widgets-disconnected::before { font: 13px system-ui, sans-serif !important;
  content: "The kernel is gone; this is where the explorer stood. Run the cell again." !important;
  color: inherit !important; background: none !important; padding: 6px 10px; border: 1px solid;
  border-radius: 4px; margin: 4px 0; }
/* The notebook's picture of the graph is for when there is no live one. */
.jp-OutputArea:has(.acdc-explorer)
  .jp-OutputArea-child:has(img[src*="acdc-picture"], svg#acdc-picture) { display: none; }
.acdc-threshold { display: flex; align-items: center; gap: 8px; flex: 1 1 280px; }
.acdc-threshold label { white-space: nowrap; font-size: 13px; }
.acdc-threshold input[type="range"] { flex: 1 1 120px; min-width: 120px; margin: 0; }
.acdc-threshold input[type="text"] { width: 52px; margin-left: 6px; padding: 2px 4px;
  font-size: 13px; color: inherit; background: var(--jp-layout-color0, #fff);
  border: 1px solid var(--jp-border-color1, #bbb); border-radius: 3px; }
.acdc-faithfulness .widget-readout { min-width: 34px; }
.acdc-progress { font-size: 13px; line-height: 24px; min-height: 24px; padding: 0 8px;
  border: 1px solid var(--jp-border-color2, #ddd); border-radius: 3px; --colour: 0,114,178;
  background: linear-gradient(to right, rgba(var(--colour, 0,114,178),.22) var(--done, 0%),
    transparent var(--done, 0%)); }
.acdc-progress[data-search="done"] { --colour: 0,158,115; }
.acdc-progress[data-search="paused"], .acdc-progress[data-search="stopped"] {
  --colour: 184,122,0; }
.acdc-progress[data-search="error"] { --colour: 213,94,0; }
.acdc-files { display: flex; gap: 4px; padding: 2px 0; }
.acdc-files .acdc-file { width: auto; height: 24px; line-height: 22px; padding: 0 10px; }
/* Where the panel has no room beside the graph, it comes right below it. */
.acdc-body { container-type: inline-size; }
.acdc-explorer .acdc-found { overflow: auto; flex: 1 1 auto; max-height: 720px; }
/* Beside it, it is as high as the graph, and what does not fit scrolls. */
@container (min-width: 780px) {
  .acdc-explorer .acdc-side { contain: size; min-height: 560px; }
  .acdc-explorer .acdc-panel { flex: 1 1 0; min-height: 0; }
  .acdc-explorer .acdc-found { flex: 1 1 0; min-height: 0; max-height: none; }
}
.acdc-explorer .acdc-tabs { margin-top: 6px; }
.acdc-explorer .acdc-tabs .lm-TabBar-tab { flex: 0 1 auto; min-width: 40px; padding: 0 10px; }
.acdc-explorer .acdc-tabs > .widget-tab-contents { padding: 8px 10px; }
.acdc-key { font-size: 12px; line-height: 1.6; }
.acdc-key > span { margin-right: 10px; }
.acdc-key button { font: inherit; color: inherit; background: none; cursor: pointer;
  border: 1px solid transparent; border-radius: 4px; padding: 0 4px; margin: 0;
  white-space: nowrap; }
.acdc-key button:hover, .acdc-key button:focus-visible { border-color: currentColor; }
.acdc-key button svg { vertical-align: middle; }
.acdc-key button[aria-pressed="false"] { opacity: .55; text-decoration: line-through; }
.acdc-key button:is([data-part="merged"], [data-part="folded"], [data-part="changes"]) {
  border-color: var(--jp-border-color1, #bbb); opacity: 1; text-decoration: none; }
.acdc-key button:is([data-part="merged"], [data-part="folded"],
  [data-part="changes"])[aria-pressed="true"] { background: var(--jp-layout-color3, #ddd); }
.acdc-explorer .acdc-controls { border-bottom: 1px solid var(--jp-border-color2, #ddd);
  padding-bottom: 4px; }
.acdc-explorer .acdc-controls button.widget-button { padding: 0 4px; }
.acdc-explorer .widget-html-content { line-height: 1.4; }
.acdc-status { font-size: 13px; padding: 2px 4px; }
.acdc-status b { font-variant-numeric: tabular-nums; }
.acdc-status .acdc-badge { display: inline-block; min-width: 58px; text-align: center;
  border-radius: 9px; padding: 0 8px; margin-right: 8px; font-weight: 600;
  border: 1px solid currentColor; }
.acdc-error { color: var(--jp-error-color0, #b00020); background: var(--jp-error-color3, #fdecea);
  border: 1px solid var(--jp-error-color1, #d32f2f); border-radius: 4px; padding: 6px 10px;
  margin: 4px 0; white-space: pre-wrap; overflow-wrap: anywhere; font-size: 13px; }
.jp-mod-dark .acdc-error, [data-jp-theme-light="false"] .acdc-error { color: #ffb4a9;
  background: #4a1512; }
.acdc-edge-panel { font-size: 13px; padding: 0 6px; }
.acdc-edge-panel h3 { margin: 2px 0 0; font-size: 16px; }
.acdc-edge-panel h4 { margin: 10px 0 2px; font-size: 13px; }
.acdc-edge-panel code { font-size: 12px; overflow-wrap: anywhere; }
.acdc-edge-panel table { border-collapse: collapse; margin: 2px 0; }
.acdc-edge-panel th, .acdc-edge-panel td { padding: 1px 6px; text-align: left; border: none;
  background: transparent; }
.acdc-edge-panel th { font-weight: 500; overflow-wrap: anywhere; }
.acdc-edge-panel td.num { text-align: right; font-variant-numeric: tabular-nums;
  white-space: nowrap; }
.acdc-edge-panel tr[data-position] { cursor: pointer; }
.acdc-edge-panel tr[data-position]:hover, .acdc-edge-panel tr[data-position]:focus-visible {
  background: var(--jp-layout-color2, #eee); outline: 1px solid currentColor; }
.acdc-edge-panel tr[aria-pressed="true"] th { font-weight: 700; text-decoration: underline; }
.acdc-edge-panel .acdc-state { border: 1px solid currentColor; border-radius: 8px; padding: 0 7px;
  font-size: 11px; font-weight: 500; white-space: nowrap; vertical-align: middle; }
.acdc-edge-panel[data-state="removed"] .acdc-name { text-decoration: line-through;
  color: var(--jp-content-font-color2, #666); }
.acdc-edge-panel .acdc-note { border-left: 3px solid #B87A00; padding-left: 6px; margin: 6px 0; }
.acdc-edge-panel .acdc-q, .acdc-edge-panel .acdc-k, .acdc-edge-panel .acdc-v { color: #fff;
  border-radius: 8px; padding: 0 7px; font-size: 11px; white-space: nowrap; }
.acdc-edge-panel .acdc-q { background: #0072B2; }
.acdc-edge-panel .acdc-k { background: #8F5F00; }
.acdc-edge-panel .acdc-v { background: #007A5A; }
.acdc-edge-panel .acdc-muted { color: var(--jp-content-font-color2, #666); font-size: 12px; }
.acdc-edge-panel .acdc-prompt { margin: 3px 0; padding-left: 6px;
  border-left: 3px solid var(--jp-border-color2, #ccc); overflow-wrap: anywhere; }
.acdc-edge-panel .acdc-task td { white-space: pre-wrap; overflow-wrap: anywhere; }
.acdc-edge-panel .acdc-task th { white-space: nowrap; overflow-wrap: normal; }
.acdc-edge-panel .acdc-task th, .acdc-edge-panel .acdc-task td { vertical-align: top; }
.acdc-edge-panel mark { color: inherit; background: rgba(0,114,178,.2); border-radius: 3px; }
.acdc-edge-panel mark sub { font-size: 10px; padding: 0 2px; font-weight: 600; }
.acdc-edge-panel svg text { fill: var(--jp-content-font-color1, #222); font-size: 11px; }
.acdc-edge-panel svg .zero { stroke: var(--jp-content-font-color2, #666); }
.acdc-path { font-size: 13px; padding: 0 6px 6px; }
.acdc-path p { margin: 4px 0; }
.acdc-path code { font-size: 12px; overflow-wrap: anywhere; }
.acdc-path .acdc-muted { color: var(--jp-content-font-color2, #666); font-size: 12px; }
.acdc-path svg { display: block; max-width: 100%; }
.acdc-path svg text { fill: var(--jp-content-font-color1, #222); font-size: 11px; }
.acdc-path svg .grid { stroke: rgba(128,128,128,.25); }
.acdc-path svg .exact { fill: #0072B2; }
.acdc-path svg polyline.exact { fill: none; stroke: #0072B2; stroke-width: 1.3; }
.acdc-path svg .end { fill: #767676; pointer-events: none; }
.acdc-path svg circle.screened { fill: var(--jp-layout-color0, #fff); stroke: #0072B2;
  stroke-width: 1.5; }
.acdc-path svg circle.now { fill: none; stroke: #C72C86; stroke-width: 2; pointer-events: none; }
.acdc-path svg line.now { stroke: #C72C86; stroke-width: 2; }
.acdc-path svg .known { fill: #0072B2; }
.acdc-path svg .band { fill: #C72C86; fill-opacity: .35; pointer-events: none; }
.acdc-path svg [data-threshold] { cursor: pointer; }
.acdc-path svg [data-threshold]:focus-visible { outline: 2px solid currentColor; }
.acdc-own-prompts .acdc-preview { max-height: 220px; overflow: auto; }
.acdc-own-prompts .acdc-error { font-family: var(--jp-code-font-family, monospace); }
.acdc-own-prompts td, .acdc-own-prompts th { text-align: left; padding: 1px 8px;
  white-space: nowrap; }
.acdc-checks { font-size: 13px; border-top: 1px solid var(--jp-border-color2, #ddd);
  padding: 4px; }
.acdc-check h4 { margin: 8px 0 2px; font-size: 14px; }
.acdc-check p { margin: 4px 0; max-width: 80em; }
.acdc-check ul { margin: 4px 0; padding-left: 1.4em; max-width: 80em; }
.acdc-check table { border-collapse: collapse; margin: 6px 0; display: block; overflow-x: auto; }
.acdc-check th, .acdc-check td { padding: 1px 10px 1px 2px; text-align: left; border: none;
  background: transparent; white-space: nowrap; font-weight: normal; }
.acdc-check thead th { color: var(--jp-content-font-color2, #666); font-size: 12px; }
.acdc-check .acdc-tests th { font-weight: 600; vertical-align: top; }
.acdc-check .acdc-tests td { vertical-align: top; white-space: normal; }
.acdc-check td.num { text-align: right; font-variant-numeric: tabular-nums; }
.acdc-checks .acdc-muted { color: var(--jp-content-font-color2, #666); font-size: 12px; }
.acdc-what-if { padding: 2px 6px; font-size: 13px; }
.acdc-what-if table { border-collapse: collapse; }
.acdc-what-if th, .acdc-what-if td { padding: 0 12px 0 0; text-align: left; font-weight: normal;
  border: none; background: transparent; }
.acdc-what-if td.num, .acdc-what-if th[scope="col"] { text-align: right;
  font-variant-numeric: tabular-nums; }
.acdc-changes { border-left: 3px solid #D55E00; padding-left: 6px; margin: 4px 0; }
.acdc-changes p { margin: 0; overflow-wrap: anywhere; }
.acdc-copy-text > div { display: flex; align-items: center; gap: 10px; }
.acdc-copy-text .acdc-copy { width: auto; height: 24px; line-height: 22px; padding: 0 10px; }
.acdc-copy-text pre { font-family: var(--jp-code-font-family, monospace); font-size: 12px;
  overflow-x: auto; padding: 6px 8px; margin: 4px 0 12px; color: inherit;
  background: var(--jp-layout-color2, #f2f2f2); border-radius: 3px; }
.acdc-copy-text p { max-width: 80em; margin: 4px 0; font-size: 13px; line-height: 1.5; }
.acdc-compare, .acdc-compared { font-size: 13px; padding: 0 4px; }
.acdc-compare p { margin: 2px 0 6px; max-width: 80em; }
.acdc-choices { display: flex; gap: 8px; margin: 3px 0; align-items: baseline; }
.acdc-choices > .acdc-muted { flex: 0 0 110px; }
.acdc-choices > .acdc-muted:empty { display: none; }
.acdc-choice-row { max-height: 84px; overflow-y: auto; }
.acdc-compare .acdc-muted, .acdc-compared .acdc-muted, .acdc-compared.acdc-muted { font-size: 12px;
  color: var(--jp-content-font-color2, #666); }
.acdc-compare button, .acdc-compared button { font: inherit; color: inherit; cursor: pointer;
  background: none; border: 1px solid var(--jp-border-color1, #bbb); border-radius: 4px;
  padding: 1px 7px; margin: 0 4px 4px 0; text-align: left; font-variant-numeric: tabular-nums; }
.acdc-compare button[aria-pressed="true"] { background: var(--jp-layout-color3, #ddd);
  font-weight: 600; }
.acdc-compare .acdc-unpin { border-color: transparent; margin-left: -4px; padding: 1px 5px; }
.acdc-compared h4 { margin: 4px 0; font-size: 13px; }
.acdc-compared p { margin: 6px 0; }
.acdc-compared th, .acdc-compared td { padding: 1px 12px 1px 0; text-align: left; border: none;
  background: transparent; font-weight: normal; }
.acdc-compared thead th { color: var(--jp-content-font-color2, #666); font-size: 12px; }
.acdc-compared .num { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.acdc-columns { display: flex; flex-wrap: wrap; gap: 8px 28px; }
.acdc-columns section { flex: 1 1 225px; max-width: 270px; max-height: 300px; overflow-y: auto; }
.acdc-columns ul { list-style: none; margin: 0; padding: 0; }
.acdc-columns li { display: flex; justify-content: space-between; gap: 8px; padding-right: 6px; }
.acdc-columns button { border-color: transparent; white-space: nowrap; padding: 0 3px; margin: 0; }
.acdc-columns button:hover, .acdc-columns button:focus-visible { border-color: currentColor; }
.acdc-chooser button { text-align: left; font-variant-numeric: tabular-nums; }
.acdc-part > .acdc-above-table { margin: 0; }
.acdc-above-table p { margin: 4px 0; font-size: 13px; max-width: 80em; }
.acdc-above-table .acdc-muted { color: var(--jp-content-font-color2, #666); font-size: 12px; }
.acdc-table { font-size: 13px; width: 100%; min-width: 0; color: inherit; }
.acdc-table-bar { display: flex; flex-wrap: wrap; gap: 4px 6px; align-items: center;
  padding: 2px 0 4px; }
.acdc-table-bar > span { display: contents; }
.acdc-table-bar > .acdc-count { display: inline; flex: 1 1 auto; text-align: right;
  color: var(--jp-content-font-color2, #666); font-variant-numeric: tabular-nums; }
.acdc-table-bar input, .acdc-table-bar select, .acdc-table-bar button { font: inherit;
  color: inherit; background: var(--jp-layout-color1, #fff); height: 24px; padding: 0 6px;
  border: 1px solid var(--jp-border-color1, #bbb); border-radius: 3px; max-width: 180px; }
.acdc-table-bar select option { color: var(--jp-content-font-color1, #222);
  background: var(--jp-layout-color1, #fff); }
.acdc-table-bar select { max-width: 142px; }
.acdc-table-bar .acdc-find { flex: 0 1 240px; min-width: 150px; max-width: none; }
.acdc-table-bar button { cursor: pointer; background: var(--jp-layout-color2, #eee); }
.acdc-table-bar button[aria-pressed="true"] { background: var(--jp-layout-color3, #ddd);
  font-weight: 600; }
.acdc-table-bar button:disabled { cursor: default; opacity: .5; }
.acdc-table-bar button[hidden] { display: none; }
.acdc-grid { overflow: auto; max-height: 380px; position: relative;
  border: 1px solid var(--jp-border-color2, #ddd); border-radius: 3px; }
.acdc-grid[hidden] { display: none; }
.acdc-grid:focus-visible, .acdc-table-bar :focus-visible, .acdc-head button:focus-visible {
  outline: 2px solid var(--jp-brand-color1, #1976d2); outline-offset: -1px; }
.acdc-head, .acdc-row { display: grid; grid-template-columns: var(--columns, none); width: 100%;
  min-width: var(--least, 0px); }
.acdc-head { position: sticky; top: 0; z-index: 1; background: var(--jp-layout-color2, #eee);
  border-bottom: 1px solid var(--jp-border-color1, #bbb); height: 26px; }
.acdc-space { position: relative; }
.acdc-row { position: absolute; left: 0; height: 25px; cursor: pointer;
  border-bottom: 1px solid var(--jp-border-color3, rgba(128,128,128,.2)); box-sizing: border-box; }
.acdc-head > span, .acdc-row > span { padding: 0 6px; line-height: 24px; white-space: nowrap;
  overflow: hidden; text-overflow: ellipsis; }
.acdc-head button { font: inherit; font-weight: 600; color: inherit; background: none; border: 0;
  padding: 0; cursor: pointer; width: 100%; text-align: left; }
.acdc-head .number button { text-align: right; }
.acdc-head .tags button, .acdc-head .text button { text-align: left; }
.acdc-row .number { text-align: right; font-variant-numeric: tabular-nums; position: relative; }
.acdc-row:hover { background: var(--jp-layout-color2, #f2f2f2); }
.acdc-row[aria-selected="true"] { background: rgba(199,44,134,.16);
  box-shadow: inset 3px 0 0 #C72C86; }
.acdc-row.heading { cursor: default; font-weight: 600; display: block;
  background: var(--jp-layout-color2, #f2f2f2); }
.acdc-row input, .acdc-head input { margin: 0; vertical-align: middle; }
.acdc-row em { font-style: normal; font-size: 11px; border: 1px solid currentColor;
  border-radius: 8px; padding: 0 6px; margin-right: 4px; }
.acdc-row .acdc-bar { position: absolute; left: 6px; width: calc(100% - 76px); top: 6px;
  height: 12px; background: linear-gradient(currentColor, currentColor) center/1px 100% no-repeat;
  opacity: .9; }
.acdc-row .acdc-bar::after { content: ""; position: absolute; top: 0; height: 100%;
  width: var(--length, 0%); }
.acdc-row .acdc-bar.helps::after { left: 50%; background: #0072B2; }
.acdc-row .acdc-bar.hurts::after { right: 50%; background: #D55E00; }
.acdc-below-table { gap: 4px 16px; }
.acdc-below-table .widget-html-content { min-width: 0; }
.acdc-prompt-detail { font-size: 13px; }
.acdc-prompt-detail h4 { margin: 10px 0 2px; font-size: 13px; }
.acdc-prompt-detail table { border-collapse: collapse; margin: 2px 0; }
.acdc-prompt-detail th, .acdc-prompt-detail td { padding: 1px 6px; text-align: left;
  border: none; background: transparent; font-weight: 500; vertical-align: top; }
.acdc-prompt-detail td { font-weight: inherit; overflow-wrap: anywhere; }
.acdc-prompt-detail .acdc-task td { white-space: pre-wrap; }
.acdc-prompt-detail .acdc-muted { color: var(--jp-content-font-color2, #666); font-size: 12px;
  font-weight: 400; }
.acdc-prompt-detail mark { color: inherit; background: rgba(0,114,178,.2); border-radius: 3px; }
.acdc-prompt-detail mark sub { font-size: 10px; padding: 0 2px; font-weight: 600; }
.acdc-prompt-detail p { margin: 4px 0; }
.acdc-prompt-detail .acdc-tokens td, .acdc-prompt-detail .acdc-tokens th {
  padding: 1px 8px 1px 2px; font-variant-numeric: tabular-nums; white-space: nowrap; }
.acdc-prompt-detail .acdc-wide { overflow-x: auto; }
.acdc-prompt-detail .acdc-answer { border-bottom: 2px solid #0072B2; }
.acdc-prompt-detail .acdc-wrong { border-bottom: 2px dashed #D55E00; }
.acdc-none { margin: 6px 2px; }
.acdc-head-panel { padding: 0; }
.acdc-head-panel p { margin: 4px 0; max-width: 110em; }
.acdc-head-panel a { color: var(--jp-content-link-color, #1976d2); text-decoration: underline; }
.acdc-prompt-line { display: block; font-size: 13px; line-height: 1.4; padding: 0 6px;
  overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.acdc-heats { display: flex; flex-wrap: wrap; gap: 8px 20px; }
.acdc-heat { margin: 4px 0; max-width: 100%; }
.acdc-heat figcaption { font-weight: 600; }
.acdc-heat > div { overflow-x: auto; }
.acdc-heat svg { display: block; }
.acdc-edge-panel .acdc-heat text { font-size: 10px; }
.acdc-edge-panel .acdc-heat text.labelled { font-weight: 700; }
.acdc-heat .frame { fill: none; stroke: rgba(128,128,128,.45); }
.acdc-heat .more { fill: #0072B2; }
.acdc-heat .less { fill: #D55E00; }
/* Where little is to be seen on a dark ground. */
.jp-mod-dark .acdc-heat .more, [data-jp-theme-light="false"] .acdc-heat .more { fill: #4DB8F0; }
.jp-mod-dark .acdc-heat .less, [data-jp-theme-light="false"] .acdc-heat .less { fill: #FF9A4D; }
.acdc-heat rect:hover { stroke: #C72C86; stroke-width: 1.5; }
.acdc-head-facts { display: flex; flex-wrap: wrap; gap: 4px 32px; }
.acdc-head-facts section { min-width: 0; max-width: min(100%, 430px); overflow-x: auto; }
.acdc-head-facts th { white-space: nowrap; overflow-wrap: normal; }
.acdc-head-edges { display: flex; flex-wrap: wrap; gap: 4px 24px; }
.acdc-head-edges ul { list-style: none; margin: 2px 0; padding: 0; }
.acdc-head-edges button { font: inherit; color: inherit; background: none; cursor: pointer;
  border: 1px solid transparent; border-radius: 4px; padding: 0 4px; text-align: left;
  font-variant-numeric: tabular-nums; }
.acdc-head-edges button:hover, .acdc-head-edges button:focus-visible { border-color: currentColor; }
.acdc-groups { font-size: 13px; }
.widget-html-content:has(> .acdc-groups) { min-width: 0; }
.acdc-groups tbody td:last-child { min-width: 15em; }
.acdc-groups p { margin: 4px 0; max-width: 80em; }
.acdc-groups h4 { margin: 8px 0 2px; font-size: 14px; }
.acdc-groups .acdc-muted, .acdc-groups.acdc-muted { color: var(--jp-content-font-color2, #666);
  font-size: 12px; }
.acdc-groups table { border-collapse: collapse; margin: 6px 0; display: block; overflow-x: auto; }
.acdc-groups th, .acdc-groups td { padding: 2px 14px 2px 2px; text-align: left; border: none;
  background: transparent; font-weight: normal; vertical-align: baseline; }
.acdc-groups thead th { color: var(--jp-content-font-color2, #666); font-size: 12px; }
.acdc-groups tbody th { font-weight: 600; }
.acdc-groups th { white-space: nowrap; }
.acdc-groups .num { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.acdc-groups button { font: inherit; font-size: 12px; color: inherit; cursor: pointer;
  background: var(--jp-layout-color2, #eee); border: 1px solid var(--jp-border-color1, #bbb);
  border-radius: 3px; padding: 1px 8px; margin-right: 4px; }
.acdc-groups .acdc-actions { white-space: nowrap; }
.acdc-groups button.acdc-link { background: none; border: none; padding: 0; margin: 0;
  text-decoration: underline; }
</style>
"""
