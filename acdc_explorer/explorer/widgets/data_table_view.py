"""The second half of the script of `DataTable`: what is seen of the rows, and done with them."""

from __future__ import annotations

# The table on the page: what filters it, its rows as far as they are in view, and its keys.
VIEW = r"""
const ROW = 25, BEYOND = 6, REST_MS = 150;
const make = (tag, properties = {}, ...children) => {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
};
const marked = (element, attributes) => {
  for (const name in attributes) element.setAttribute(name, attributes[name]);
  return element;
};
const copied = async (text) => {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Where pages may not write there, as on plain http, a selection may still be copied.
    const area = make("textarea", { value: text });
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
};
function render({ model, el }) {
  const unique = `acdc-row-${Math.random().toString(36).slice(2)}`;
  const find = make("input", { type: "search", className: "acdc-find" });
  const facets = make("span", { className: "acdc-facets" });
  const group = make("button", { type: "button" });
  const copy = make("button", { type: "button", textContent: "Copy as CSV",
    title: "Copies the rows that are shown, in their order" });
  const buttons = make("span", { className: "acdc-actions" });
  const count = marked(make("span", { className: "acdc-count" }), { role: "status" });
  const bar = make("div", { className: "acdc-table-bar" }, find, facets, group, buttons, copy,
    count);
  const head = marked(make("div", { className: "acdc-head" }), { role: "row" });
  const space = marked(make("div", { className: "acdc-space" }), { role: "rowgroup" });
  const none = make("p", { className: "acdc-none" });
  const grid = marked(make("div", { className: "acdc-grid", tabIndex: 0 }, head, space), {
    role: "grid", "aria-label": model.get("label") });
  el.append(bar, grid, none);

  let rows, entries = [], places = new Map(), sort = null, isGrouped = false, chosen = {};
  let cursor = null, anchor = null, checked = new Set(), note = "";
  const actions = () => model.get("actions"), canCheck = () => actions().length > 0;
  const widths = () => [...(canCheck() ? ["26px"] : []), ...rows.columns.map((c) => c.width)];

  const drawHead = () => {
    head.replaceChildren();
    if (canCheck()) {
      const all = make("input", { type: "checkbox", title: "Check all rows that are shown",
        tabIndex: -1 });
      all.addEventListener("change", () => {
        checked = new Set(all.checked ? shownKeys() : []);
        draw();
      });
      head.append(marked(make("span", {}, all), { role: "columnheader" }));
    }
    for (const column of rows.columns) {
      const way = sort?.name === column.name ? (sort.down ? "descending" : "ascending") : "none";
      const arrow = { descending: " ↓", ascending: " ↑", none: "" }[way];
      const button = make("button", { type: "button", textContent: column.label + arrow,
        title: column.title });
      button.addEventListener("click", () => {
        const down = sort?.name === column.name ? !sort.down : column.kind === "number";
        sort = { name: column.name, down };
        drawHead();
        arrange();
        [...head.querySelectorAll("button")].find((each) => each.title === column.title
          && each.textContent.startsWith(column.label))?.focus();
      });
      head.append(marked(make("span", { className: column.kind }, button), {
        role: "columnheader", "aria-sort": way }));
    }
    grid.style.setProperty("--columns", widths().join(" "));
    const least = widths().reduce((sum, width) => sum + Number(/\d+/.exec(width)[0]), 0);
    grid.style.setProperty("--least", `${least}px`);
  };
  const drawFacets = () => {
    facets.replaceChildren();
    for (const column of rows.columns.filter((each) => each.facet)) {
      const all = rows.choices(column);
      if (!all.some(([value]) => value === chosen[column.name])) delete chosen[column.name];
      // One value that all rows have parts nothing.
      if (all.length < 2 && all.every(([, n]) => n === rows.keys.length)) continue;
      const select = marked(make("select"), { "aria-label": column.facet });
      select.append(make("option", { value: "", textContent: `${column.facet}: any` }));
      for (const [value, n] of all)
        select.append(make("option", { value, textContent: `${value} (${n})` }));
      select.value = chosen[column.name] ?? "";
      select.addEventListener("change", () => {
        if (select.value) chosen[column.name] = select.value;
        else delete chosen[column.name];
        arrange();
      });
      facets.append(select);
    }
  };
  const shownKeys = () => entries.filter((entry) => !entry.heading).map((row) => rows.keys[row]);
  const arrange = () => {
    const table = model.get("table");
    const shown = rows.sorted(rows.shown(find.value, chosen), sort);
    entries = isGrouped ? rows.grouped(shown) : shown;
    places = new Map();
    entries.forEach((entry, place) => {
      if (!entry.heading) places.set(rows.keys[entry], place);
    });
    space.style.height = `${entries.length * ROW}px`;
    const n = rows.keys.length, noun = table.noun ?? ["row", "rows"];
    const counted = (number) => `${number.toLocaleString("en")} ${noun[number === 1 ? 0 : 1]}`;
    const some = shown.length === n ? "" : `${shown.length.toLocaleString("en")} of `;
    note = some + counted(n);
    const isEmpty = !shown.length;
    none.textContent = n ? "No row matches. Empty the box and set the lists to “any” to see all."
      : table.empty ?? "";
    none.hidden = !isEmpty;
    grid.hidden = isEmpty;
    marked(grid, { "aria-rowcount": entries.length + 1 });
    draw();
  };
  const cell = (column, row) => {
    const value = column.values[row], told = rows.text(column, value);
    const element = marked(make("span", { className: column.kind }), { role: "gridcell" });
    if (column.bar && value !== null) {
      const share = rows.isNone(column, value) ? 0 : Math.abs(value) / column.bar;
      const length = 50 * Math.min(1, share);
      const side = value < 0 ? "hurts" : "helps";
      element.append(marked(make("i", { className: `acdc-bar ${side}` }), {
        style: `--length:${length.toFixed(1)}%`, "aria-hidden": "true" }));
    }
    if (column.kind === "tags")
      element.append(...value.map((tag) => make("em", { textContent: tag })));
    else element.append(make("span", { textContent: told }));
    if (told.length > 12) element.title = told;
    return element;
  };
  const drawRow = (entry, place) => {
    const top = `top:${place * ROW}px`;
    if (entry.heading) {
      const told = marked(make("span", { textContent: entry.heading, title: entry.heading }), {
        role: "gridcell" });
      return marked(make("div", { className: "acdc-row heading" }, told), {
        role: "row", style: top, "aria-rowindex": place + 2 });
    }
    const key = rows.keys[entry], element = make("div", { className: "acdc-row",
      id: `${unique}-${place}` });
    marked(element, { role: "row", style: top, "aria-rowindex": place + 2,
      "aria-selected": key === cursor, "data-key": key });
    if (canCheck()) {
      const box = make("input", { type: "checkbox", checked: checked.has(key), tabIndex: -1 });
      marked(box, { "aria-label": `check ${key}` });
      element.append(marked(make("span", {}, box), { role: "gridcell" }));
    }
    element.append(...rows.columns.map((column) => cell(column, entry)));
    return element;
  };
  const draw = () => {
    const first = Math.max(0, Math.floor(grid.scrollTop / ROW) - BEYOND);
    const last = Math.ceil((grid.scrollTop + grid.clientHeight) / ROW) + BEYOND;
    space.replaceChildren(...entries.slice(first, last).map(
      (entry, number) => drawRow(entry, first + number)));
    const place = places.get(cursor);
    if (place === undefined) grid.removeAttribute("aria-activedescendant");
    else marked(grid, { "aria-activedescendant": `${unique}-${place}` });
    const all = head.querySelector("input");
    const n = [...checked].filter((key) => places.has(key)).length;
    if (all) {
      all.checked = n > 0 && n === places.size;
      all.indeterminate = n > 0 && n < places.size;
    }
    const missing = cursor !== null && place === undefined ? ` · ${model.get("missing")}` : "";
    const checks = checked.size ? ` · ${checked.size.toLocaleString("en")} checked` : "";
    count.textContent = note + checks + missing;
    drawButtons();
  };
  const meant = (action) => {
    const values = rows.named(action.column)?.values ?? [];
    const keys = checked.size ? checked : new Set(cursor === null ? [] : [cursor]);
    return rows.keys.filter((key, row) => keys.has(key) && action.values.includes(values[row]));
  };
  const drawButtons = () => {
    for (const [number, action] of actions().entries()) {
      const n = meant(action).length;
      buttons.children[number].textContent = action.label + (n > 1 ? ` ${n}` : "");
      buttons.children[number].disabled = !n;
    }
    group.textContent = model.get("table").group?.label ?? "";
    group.hidden = !model.get("table").group;
    group.setAttribute("aria-pressed", isGrouped);
  };
  const reveal = () => {
    const place = places.get(cursor);
    if (place === undefined || !grid.clientHeight) return;
    const room = grid.clientHeight - head.offsetHeight, top = place * ROW;
    if (top < grid.scrollTop || top + ROW > grid.scrollTop + room)
      grid.scrollTop = Math.max(0, top - (room - ROW) / 2);
  };
  let waiting = null;
  const choose = (key, soon) => {
    cursor = anchor = key;
    reveal();
    draw();
    clearTimeout(waiting);
    // Going along rows by a key that is held down chooses the one where it rests.
    waiting = setTimeout(() => { waiting = null; model.send({ chosen: key }); }, soon);
  };
  const check = (key, isOn) => checked[isOn ? "add" : "delete"](key);
  const checkTo = (key) => {
    const ends = [places.get(anchor) ?? places.get(key), places.get(key)].sort((a, b) => a - b);
    for (const entry of entries.slice(ends[0], ends[1] + 1))
      if (!entry.heading) check(rows.keys[entry], true);
  };
  const press = (event) => {
    const key = event.target.closest("[data-key]")?.dataset.key;
    if (key === undefined) return;
    const isBox = event.target.matches("input") || event.target.querySelector(":scope > input");
    if (canCheck() && (isBox || event.shiftKey || event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      if (event.shiftKey) checkTo(key);
      else check(key, !checked.has(key));
      anchor = key;
      grid.focus({ preventScroll: true });
      draw();
    } else choose(key, 0);
  };
  // A row may be drawn anew before the button is up again, and then there is no click.
  let pressed = 0;
  space.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || event.pointerType === "touch") return;
    pressed = Date.now();
    press(event);
  });
  space.addEventListener("click", (event) => {
    if (event.target.matches("input")) event.preventDefault();
    if (Date.now() - pressed > 1000) press(event);
  });
  const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: 12, PageUp: -12, Home: -1e9, End: 1e9 };
  grid.addEventListener("keydown", (event) => {
    if (event.target !== grid) return;
    const order = shownKeys(), at = order.indexOf(cursor);
    if (event.key in steps && order.length) {
      const to = Math.min(order.length - 1, Math.max(0, at + steps[event.key]));
      if (event.shiftKey && canCheck() && at >= 0) {
        check(order[at], true);
        check(order[to], true);
      }
      choose(order[to], REST_MS);
    } else if (event.key === " " && at >= 0 && canCheck()) {
      check(cursor, !checked.has(cursor));
      draw();
    } else if (event.key === "Enter" && at >= 0) choose(cursor, 0);
    else return;
    event.preventDefault();
  });
  // The notebook must not take the keys of a focused element for its own.
  el.addEventListener("keydown", (event) => {
    if (!["Escape", "Tab"].includes(event.key)) event.stopPropagation();
  });
  let frame = 0;
  grid.addEventListener("scroll", () => {
    cancelAnimationFrame(frame);
    frame = requestAnimationFrame(draw);
  });
  let typed = null;
  find.addEventListener("input", () => {
    arrange();
    clearTimeout(typed);
    if (model.get("table").incomplete)
      typed = setTimeout(() => model.send({ text: find.value }), REST_MS);
  });
  group.addEventListener("click", () => { isGrouped = !isGrouped; arrange(); reveal(); });
  copy.addEventListener("click", async () => {
    const order = entries.filter((entry) => !entry.heading);
    await copied(rows.csv(order));
    count.textContent = `copied ${order.length.toLocaleString("en")} rows`;
  });
  const showActions = () => {
    buttons.replaceChildren(...actions().map((action) => {
      const button = make("button", { type: "button", title: action.title });
      button.addEventListener("click", () => {
        model.send({ action: action.name, keys: meant(action) });
        checked.clear();
        draw();
      });
      return button;
    }));
  };
  const show = () => {
    const table = model.get("table");
    rows = rowsOf(table);
    find.placeholder = table.hint ?? "filter";
    marked(find, { "aria-label": table.hint ?? "filter" });
    const known = new Set(rows.keys);
    checked = new Set([...checked].filter((key) => known.has(key)));
    if (!table.group) isGrouped = false;
    drawHead();
    drawFacets();
    arrange();
  };
  const follow = () => {
    if (waiting !== null) return;
    cursor = model.get("current");
    reveal();
    draw();
  };
  model.on("change:table", show);
  model.on("change:current", follow);
  // Rows are drawn as many as there is room for: none, while the table lies in a hidden tab.
  const sized = new ResizeObserver(() => { reveal(); draw(); });
  sized.observe(grid);
  showActions();
  show();
  follow();
  return () => {
    sized.disconnect();
    model.off("change:table", show);
    model.off("change:current", follow);
  };
}
"""
