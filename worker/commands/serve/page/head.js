// The head of the table: names that sort, and what each column means on hover and on focus.

import { classOf, COLUMNS, labelOf } from "./columns.js";
import { element } from "./element.js";
import { explained } from "./tips.js";

// `sort(column)` is called when the user asks for it. Returns what shows the order.
export function head(row, select, order, sort) {
  const cells = COLUMNS.map(column => cellOf(column, sort));
  row.append(...cells);
  select.append(...COLUMNS.map(column =>
    element("option", { value: column.id, textContent: labelOf(column) })));
  select.addEventListener("change", () =>
    sort(COLUMNS.find(column => column.id === select.value)));
  return () => {
    select.value = order.column.id;
    COLUMNS.forEach((column, i) => {
      if (column !== order.column) cells[i].removeAttribute("aria-sort");
      else cells[i].setAttribute("aria-sort", order.isFalling ? "descending" : "ascending");
    });
  };
}

function cellOf(column, sort) {
  const [button, tip] = explained(column.id, column.help, labelOf(column),
    ...(column.unit ? [element("small", { textContent: ` ${column.unit}` })] : []));
  button.addEventListener("click", () => sort(column));
  return element("th", { role: "columnheader", scope: "col",
    className: classOf(column) }, button, tip);
}
