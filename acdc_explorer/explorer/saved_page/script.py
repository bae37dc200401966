"""The script of a saved page: the slider, clicks, the panel and the table, from plain values.

It writes text as text alone, never as HTML, and asks nobody anything.
"""

SCRIPT = r"""
window.addEventListener("load", () => {
  const data = JSON.parse(document.getElementById("acdc-data").textContent);
  const gd = document.getElementById("acdc-plot"), bits = data.bits;
  const [slider, standing, panel, table] =
    ["acdc-slider", "acdc-standing", "acdc-panel", "acdc-table"]
      .map((id) => document.getElementById(id));
  const trace = Object.fromEntries(gd.data.map((each) => [each.name, each]));
  // What the page was saved with: of one circuit and one selection.
  const saved = { panel: [...panel.childNodes], table: [...table.childNodes] };
  const numberOf = new Map(data.edges.map((edge, number) => [edge[0], number]));
  const nodeOf = new Map(data.nodes.map((node, number) => [node[0], number]));
  const of = data.circuits.map((circuit) => new Map(circuit.edges.map((row) => [row[0], row])));
  let at = data.saved, selected = data.selected;

  const make = (tag, text = "", attributes = {}) => {
    const element = document.createElement(tag);
    element.textContent = text;
    for (const name in attributes) element.setAttribute(name, attributes[name]);
    return element;
  };
  const goTo = (kind, id, text) => make("button", text, { type: "button",
    "data-goto": `${kind}:${id}`, "aria-pressed": String(selected === `${kind}:${id}`) });
  const escaped = (text) =>
    text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
  const number = (effect) => (effect > 0 ? "+" : "") +
    (Math.abs(effect) >= 5e-4 ? effect.toFixed(3) : effect.toPrecision(2));
  const inWords = (effect, circuit) => effect === null ? "–"
    : Math.abs(effect) < circuit.smallest ? "no effect"
    : `${number(effect)} ${data.unit}`.trim();
  const share = (effect, circuit) => effect === null || !circuit.full ? "–"
    : `${effect > 0 ? "+" : ""}${(100 * effect / Math.abs(circuit.full)).toFixed(1)}%`;
  const size = (row) => Math.abs(row[1] ?? 0);

  // Lines: each with the edges that it stands for, the largest first.
  const lines = (circuit) => {
    if (!data.merged) return circuit.edges.map((row) => [row]);
    const pairs = new Map();
    for (const row of circuit.edges) {
      const edge = data.edges[row[0]];
      const pair = [edge[3], edge[4], edge[5], row[4] & (bits.out | bits.onlyHere)].join();
      pairs.has(pair) ? pairs.get(pair).push(row) : pairs.set(pair, [row]);
    }
    return [...pairs.values()];
  };
  const touches = (edge, node) => edge[3] === node || edge[4] === node;
  const put = (name, curves) => {
    const x = [], y = [];
    for (const curve of curves) {
      for (let i = 0; i < curve.length; i += 2) { x.push(curve[i]); y.push(curve[i + 1]); }
      x.push(null); y.push(null);
    }
    trace[name].x = x.length ? x : [null];
    trace[name].y = y.length ? y : [null];
  };
  const marks = (name, points) => {
    trace[name].x = points.map((point) => point[0]);
    trace[name].y = points.map((point) => point[1]);
  };
  const hover = (rows, circuit) => {
    const [row, ...others] = rows, edge = data.edges[row[0]];
    const told = [edge[1], data.kinds[edge[2]]];
    if (row[4] & bits.out) told.push("not in this circuit");
    else told.push(inWords(row[1], circuit));
    for (const each of others)
      told.push(`${data.edges[each[0]][1]} ${inWords(each[1], circuit)}`);
    told.push(...(circuit.said[row[0]] ?? []));
    if (!(row[4] & (bits.connected | bits.out)))
      told.push("not on any path from input to logits");
    return told.map(escaped).join("<br>");
  };

  const draw = () => {
    const circuit = data.circuits[at], [kind, id] = parts(selected);
    const node = kind === "node" ? nodeOf.get(id) : undefined;
    const curves = {}, add = (name, each) => (curves[name] ??= []).push(...each);
    const hits = { x: [], y: [], text: [], customdata: [] }, byHand = [], symbols = [];
    for (const rows of lines(circuit)) {
      const [row] = rows, edge = data.edges[row[0]], its = data.curves[row[0]];
      const dim = node !== undefined && !touches(edge, node);
      add(dim ? "dimmed" : gd.data[row[2]].name, its);
      if (row[4] & bits.onlyHere && !dim) add("only-here", its);
      const text = hover(rows, circuit);
      for (const curve of its) {
        for (let i = data.hits[0]; i < data.hits[1]; i += 1) {
          hits.x.push(curve[2 * i]); hits.y.push(curve[2 * i + 1]);
          hits.text.push(text); hits.customdata.push(edge[0]);
        }
        if (row[4] & bits.byHand) {
          const middle = 2 * Math.floor(data.points / 2);
          byHand.push([curve[middle], curve[middle + 1]]);
          symbols.push(row[4] & bits.out ? "x-thin-open" : "cross-thin-open");
        }
      }
    }
    for (const name in trace)
      if (trace[name].mode === "lines") put(name, curves[name] ?? []);
    const chosen = kind === "edge" ? numberOf.get(id) : undefined;
    if (chosen !== undefined) {
      const row = of[at].get(chosen);
      const isIn = row && !(row[4] & bits.out);
      put(isIn ? "selected" : "selected-removed", data.curves[chosen]);
    }
    Object.assign(trace["edge-hits"], hits);
    marks("hand-marks", byHand);
    trace["hand-marks"].marker.symbol = symbols;
    marks("selected-node", data.spots.filter((spot) => spot[0] === node).map((s) => s.slice(2)));
    drawNodes(circuit);
    Plotly.react(gd, gd.data, gd.layout);
  };
  const drawNodes = (circuit) => {
    const state = new Map();
    for (const name of ["untested", "there", "in"])
      for (const each of circuit.nodes[name]) state.set(each, name);
    const seen = data.spots
      .map((spot) => [spot, data.nodes[spot[0]], state.get(spot[0]) ?? "out"])
      .filter(([, node, how]) => !data.hidesIdle || how !== "out" || node[4] < 0);
    const said = { in: "", there: "<br>only in the other circuit",
      untested: "<br>not tested yet", out: "<br>no kept edge" };
    const nodes = trace.nodes, looks = seen.map(([, , how]) => data.looks[how]);
    marks("nodes", seen.map(([spot]) => spot.slice(2)));
    nodes.customdata = seen.map(([, node]) => node[0]);
    nodes.text = seen.map(([, node]) => node[2]);
    nodes.hovertext = seen.map(([spot, node, how]) =>
      escaped(node[1] + (spot[1] ? ` @ ${spot[1]}` : "")) + said[how]);
    nodes.textfont.color = seen.map(([, node, how]) =>
      ["in", "there"].includes(how) && node[4] >= 0 ? "#222222" : "rgba(0,0,0,0)");
    nodes.marker.size = looks.map((look) => look[0] * data.nodeSize);
    nodes.marker.color = looks.map((look) => look[1]);
    nodes.marker.line.color = looks.map((look) => look[2]);
    nodes.marker.symbol = seen.map(([, node]) => node[3]);
  };

  const parts = (what) => {
    if (!what) return [null, null];
    const colon = what.indexOf(":");
    return [what.slice(0, colon), what.slice(colon + 1)];
  };
  const keptAt = (edge) => data.circuits.filter((circuit, number) => {
    const row = of[number].get(edge);
    return row && !(row[4] & bits.out);
  });
  const edgePanel = (id) => {
    const edge = numberOf.get(id), circuit = data.circuits[at];
    if (edge === undefined) return [make("h3", id),
      make("p", "It is in none of the circuits that this page draws.")];
    const [, label, kind, sender, receiver] = data.edges[edge], row = of[at].get(edge);
    const isIn = row && !(row[4] & bits.out), head = make("h3", `${label} `);
    const isMissing = !row && circuit.edges.length < circuit.kept;
    const state = isIn ? "kept" : isMissing ? "not drawn" : circuit.complete ? "removed" : "open";
    head.append(make("span", state, { class: "acdc-state" }));
    const all = [head, make("code", id), make("p", data.kinds[kind])];
    if (row) {
      const effects = make("table");
      const title = effects.insertRow(), values = effects.insertRow();
      for (const text of ["Effect on the metric", "", "of full"]) title.append(make("th", text));
      const when = row[4] & bits.out ? "in the other circuit" : "when it was decided";
      values.append(make("th", when, { scope: "row" }),
        make("td", inWords(row[1], circuit), { class: "num" }),
        make("td", share(row[1], circuit), { class: "num" }));
      all.push(effects);
    }
    const told = [];
    if (isMissing) told.push("Either removed here, or not among the largest kept edges, which " +
      "are all that this page has.");
    if (row && row[3] >= 0)
      told.push(`Decision ${(row[3] + 1).toLocaleString("en")} of the search.`);
    if (row && row[4] & bits.screened)
      told.push("Screened: it went by its predicted change, without a test of its own.");
    if (row && row[4] & bits.borderline)
      told.push("Borderline: so close to the threshold that it was decided in double precision.");
    if (isIn && circuit.complete && !(row[4] & bits.connected))
      told.push("It lies on no path from the input to the logits.");
    told.push(...(circuit.said[edge] ?? []));
    const kept = keptAt(edge);
    if (data.circuits.length > 1) told.push(`Drawn in ${kept.length} of the ` +
      `${data.circuits.length} circuits on the slider` + (kept.length
        ? `, up to threshold ${kept[kept.length - 1].threshold}.` : "."));
    all.push(...told.map((text) => make("p", text)));
    const ends = make("p", "From ");
    const name = (number) => goTo("node", data.nodes[number][0], data.nodes[number][1]);
    ends.append(name(sender), " to ", name(receiver));
    return [...all, ends];
  };
  const list = (title, rows) => {
    const circuit = data.circuits[at], items = make("ul");
    for (const row of [...rows].sort((a, b) => size(b) - size(a))) {
      const edge = data.edges[row[0]], item = make("li");
      item.append(goTo("edge", edge[0], edge[1]), make("span",
        row[4] & bits.out ? "not in this circuit" : inWords(row[1], circuit), { class: "num" }));
      items.append(item);
    }
    return [make("h4", `${title} (${rows.length})`), items];
  };
  const nodePanel = (id) => {
    const node = nodeOf.get(id), rows = data.circuits[at].edges;
    if (node === undefined) return [make("h3", id)];
    const into = rows.filter((row) => data.edges[row[0]][4] === node);
    const outOf = rows.filter((row) => data.edges[row[0]][3] === node);
    const all = [make("h3", data.nodes[node][1]), make("code", id)];
    if (!into.length && !outOf.length)
      return [...all, make("p", "No edge of it is kept at this threshold.")];
    return [...all, ...list("Edges into it", into), ...list("Edges out of it", outOf)];
  };
  const emptyPanel = () => [make("h3", "Nothing selected"),
    make("p", "Click an edge or a node of the graph, or an edge of the table below.")];

  const tell = () => {
    const [kind, id] = parts(selected), isSaved = at === data.saved;
    const whole = isSaved && selected === data.selected;
    const box = make("div", "", { class: "acdc-edge-panel" });
    const own = kind === "edge" ? edgePanel(id) : kind === "node" ? nodePanel(id) : emptyPanel();
    if (!whole) {
      box.append(...own);
      panel.replaceChildren(box);
    } else if (selected === null) {
      box.append(...own);
      panel.replaceChildren(box, ...saved.panel);
    } else {
      // What had been measured of it has its name and numbers already; the ways on are new.
      box.append(...own.filter((each) => each.matches("h4, ul, :has([data-goto])")));
      panel.replaceChildren(...saved.panel, box);
    }
    if (!isSaved && selected && selected === data.selected)
      box.append(make("p", "More had been measured of it at the threshold of the saved page."));
    const circuit = data.circuits[at];
    standing.textContent = circuit.text + (isSaved && data.circuits.length > 1
      ? " · as the page was saved" : "");
    slider?.setAttribute("aria-valuetext", circuit.text);
    table.replaceChildren(...(isSaved ? saved.table : tableOf(circuit)));
    for (const button of document.querySelectorAll("[data-goto]"))
      button.setAttribute("aria-pressed", String(button.dataset.goto === selected));
  };
  const tableOf = (circuit) => {
    const body = make("table"), head = body.insertRow();
    for (const text of ["edge", "kind", "effect", "order of the test", ""])
      head.append(make("th", text));
    const rows = circuit.edges.filter((row) => !(row[4] & bits.out));
    for (const row of rows) {
      const edge = data.edges[row[0]], line = body.insertRow();
      const cell = make("td");
      cell.append(goTo("edge", edge[0], edge[0]));
      line.append(cell, make("td", data.kinds[edge[2]]),
        make("td", row[1] === null ? "–" : number(row[1]), { class: "num" }),
        make("td", row[3] < 0 ? "" : row[3], { class: "num" }),
        make("td", row[4] & bits.connected || !circuit.complete ? "" : "leads from nothing"));
    }
    const title = rows.length < circuit.kept
      ? `The ${rows.length.toLocaleString("en")} largest of ` : "";
    const count = `${circuit.kept.toLocaleString("en")} kept edge${circuit.kept === 1 ? "" : "s"}`;
    return [make("h2", title + count), body];
  };

  let asked = false;
  const renew = () => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => { asked = false; tell(); draw(); });
  };
  const select = (what) => { selected = what; renew(); };
  gd.on("plotly_click", ({ points: [point] }) => {
    const { name } = gd.data[point.curveNumber];
    if (name === "edge-hits") select(`edge:${point.customdata}`);
    if (name === "nodes") select(`node:${point.customdata}`);
  });
  slider?.addEventListener("input", () => { at = Number(slider.value); renew(); });
  for (const button of document.querySelectorAll("[data-step]"))
    button.addEventListener("click", () => {
      const to = at + Number(button.dataset.step);
      if (to < 0 || to >= data.circuits.length) return;
      slider.value = at = to;
      renew();
    });
  document.addEventListener("click", (event) => {
    const button = event.target.closest?.("[data-goto]");
    if (!button) return;
    select(button.dataset.goto);
    // The button may go with what it stood in.
    if (!panel.contains(button)) panel.scrollIntoView({ block: "nearest" });
    panel.focus({ preventScroll: true });
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && selected) select(null);
  });
  tell();
  draw();
  // It was drawn before the panel took its part of the width.
  Plotly.Plots.resize(gd);
});
"""
