"use strict";
// Without this script the tables stand in their given order.
const keyOf = (row, column) => {
  const cell = row.cells[column];
  if (cell.hasAttribute("data-order")) return cell.dataset.order === "" ? NaN : Number(cell.dataset.order);
  return cell.textContent.trim();
};
const compare = (a, b) => {
  if (typeof a === "string") return a.localeCompare(b, "en", { numeric: true });
  // Missing values stay last in both directions, which the caller sees to.
  return a - b;
};
const sort = (table, column, header, status) => {
  const descending = header.getAttribute("aria-sort") === "ascending";
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", descending ? "descending" : "ascending");
  const body = table.tBodies[0];
  const rows = Array.from(body.rows, (row) => [keyOf(row, column), row]);
  rows.sort(([a], [b]) => {
    if (Number.isNaN(a) || Number.isNaN(b)) return Number.isNaN(a) - Number.isNaN(b);
    return descending ? compare(b, a) : compare(a, b);
  });
  body.append(...rows.map(([, row]) => row));
  status.textContent = `Sorted by ${header.dataset.label}, ${descending ? "descending" : "ascending"}.`;
};
const status = document.createElement("p");
status.className = "hidden";
status.setAttribute("role", "status");
document.body.append(status);
for (const table of document.querySelectorAll("table.sortable")) {
  Array.from(table.tHead.rows[0].cells).forEach((header, column) => {
    if (header.dataset.fixed !== undefined) return;
    const button = document.createElement("button");
    button.type = "button";
    button.append(...header.childNodes);
    header.dataset.label = button.firstChild.textContent.trim();
    header.append(button);
    button.addEventListener("click", () => sort(table, column, header, status));
  });
}
