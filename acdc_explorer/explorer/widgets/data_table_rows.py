"""The first half of the script of `DataTable`: which rows are shown, in what order and words."""

from __future__ import annotations

# `rowsOf(table)` knows the rows; it touches no page.
ROWS = r"""
// "L2H10" comes after "L2H9". Comparisons that each make one of these take sixteen times as long.
const inWords = new Intl.Collator("en", { numeric: true });
const rowsOf = (table) => {
  const columns = table.columns ?? [], keys = table.keys ?? [];
  const named = (name) => columns.find((column) => column.name === name);
  const isNone = (column, value) => value === null || Math.abs(value) < column.smallest;
  const percent = (value) => {
    const share = 100 * value, digits = Math.abs(share) < 0.05 && share ? 2 : 1;
    return `${share.toFixed(digits)}%`;
  };
  const signed = (column, value) => {
    if (Math.abs(value) < column.smallest) return column.percent ? "" : "0.000";
    const sign = value > 0 ? "+" : "";
    if (column.percent) return sign + percent(value);
    return sign + (Math.abs(value) >= 5e-4 ? value.toFixed(3) : value.toPrecision(2));
  };
  const text = (column, value) => {
    if (column.kind === "tags") return value.join(", ");
    if (column.kind === "text") return value ?? "";
    if (value === null) return "–";
    if (column.signed) return signed(column, value);
    if (column.percent) return percent(value);
    return column.whole ? String(value) : value.toFixed(3);
  };
  // The values by which a column can be filtered, of one row.
  const facetsOf = (column, row) => {
    const value = column.values[row];
    if (column.kind === "tags") return value;
    if (column.kind === "number")
      return [isNone(column, value) ? "none" : value > 0 ? "positive" : "negative"];
    return [value ?? "–"];
  };
  const choices = (column) => {
    const counts = new Map();
    keys.forEach((_, row) => facetsOf(column, row).forEach(
      (value) => counts.set(value, (counts.get(value) ?? 0) + 1)));
    return [...counts].sort(([one], [other]) => inWords.compare(one, other));
  };
  // A word is found where a word or number begins, and "2.1" not in "2.10".
  const pattern = (word) => {
    const exact = word.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
    const before = /^\w/.test(word) ? "(?<![\\w.])" : "";
    return new RegExp(before + exact + (/\d$/.test(word) ? "(?!\\d)" : ""), "i");
  };
  const shown = (text, facets) => {
    const patterns = text.split(/\s+/).filter(Boolean).map(pattern);
    const wanted = Object.entries(facets).filter(([name]) => named(name));
    return keys.map((_, row) => row).filter((row) =>
      patterns.every((each) => each.test(table.search[row]))
      && wanted.every(([name, value]) => facetsOf(named(name), row).includes(value)));
  };
  const compare = (column, down) => (one, other) => {
    let [a, b] = [column.values[one], column.values[other]];
    if (column.kind === "tags") [a, b] = [a.join(", ") || null, b.join(", ") || null];
    // What is missing comes last whichever way.
    if (a === null || b === null) return (a === null) - (b === null);
    if (column.by_size) [a, b] = [Math.abs(a), Math.abs(b)];
    const way = column.kind === "number" ? a - b
      : inWords.compare(a, b);
    return down ? -way : way;
  };
  const sorted = (rows, sort) => {
    const column = sort && named(sort.name);
    return column ? [...rows].sort(compare(column, sort.down)) : rows;
  };
  // Rows with a heading before those of each group, in the order in which groups come in the table.
  const grouped = (rows) => {
    const values = named(table.group.column).values, groups = new Map();
    for (const value of values) groups.set(value, []);
    for (const row of rows) groups.get(values[row]).push(row);
    return [...groups].filter(([, members]) => members.length).flatMap(([value, members]) =>
      [{ heading: table.group.headings[value ?? ""] ?? value ?? "–" }, ...members]);
  };
  const csv = (rows) => {
    const quoted = (value) => {
      const told = String(Array.isArray(value) ? value.join("; ") : value ?? "");
      return /[",\n]/.test(told) ? `"${told.replaceAll('"', '""')}"` : told;
    };
    const lines = [[table.key_name, ...columns.map((column) => column.name)], ...rows.map(
      (row) => [keys[row], ...columns.map((column) => column.values[row])])];
    return lines.map((line) => line.map(quoted).join(",")).join("\n") + "\n";
  };
  return { keys, columns, named, text, isNone, choices, shown, sorted, grouped, csv };
};
"""
