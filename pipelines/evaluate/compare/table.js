// Tables of class "sorted" are sorted by clicks on column heads, and filtered by the fields that name them.
"use strict";
const value = (row, column, key) => {
  const cell = row.cells[column];
  return cell.dataset[key] ?? cell.dataset.value ?? cell.textContent.trim();
};
const compare = (one, other) => {
  const [a, b] = [Number.parseFloat(one), Number.parseFloat(other)];
  return Number.isNaN(a) || Number.isNaN(b) ? one.localeCompare(other, "en", { numeric: true }) : a - b;
};
const sort = (table, head, descending) => {
  const key = document.querySelector("input[name=sort-by]:checked")?.value ?? "value";
  const rows = [...table.tBodies[0].rows];
  const column = head.cellIndex;
  rows.sort((one, other) => {
    const [a, b] = [value(one, column, key), value(other, column, key)];
    if (a === "" || b === "") return (a === "") - (b === ""); // a dash is last either way
    return descending ? compare(b, a) : compare(a, b);
  });
  table.tBodies[0].append(...rows);
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", descending ? "descending" : "ascending");
};
for (const table of document.querySelectorAll("table.sorted")) {
  for (const button of table.querySelectorAll("thead button")) {
    const head = button.closest("th");
    button.addEventListener("click", () => sort(table, head, head.getAttribute("aria-sort") === "ascending"));
  }
}
for (const choice of document.querySelectorAll("input[name=sort-by]")) {
  choice.addEventListener("change", () => {
    const head = document.querySelector("#models th[aria-sort]");
    if (head) sort(head.closest("table"), head, head.getAttribute("aria-sort") === "descending");
  });
}
const filter = (table) => {
  const fields = document.querySelectorAll(`[data-filters="${table.id}"]`);
  let shown = 0;
  for (const row of table.tBodies[0].rows) {
    const hidden = [...fields].some((field) => {
      if (field.type === "checkbox") return field.checked && row.dataset.real !== "true";
      const where = field.dataset.column === undefined ? row : row.cells[field.dataset.column];
      return !where.textContent.toLowerCase().includes(field.value.trim().toLowerCase());
    });
    row.hidden = hidden;
    shown += !hidden;
  }
  const count = document.querySelector(`[data-counts="${table.id}"]`);
  if (count) count.textContent = `${shown} of ${table.tBodies[0].rows.length} shown`;
};
for (const field of document.querySelectorAll("[data-filters]")) {
  field.addEventListener("input", () => filter(document.getElementById(field.dataset.filters)));
}
