// The head of the table: names that sort, and what each column means on hover and on focus.

import { COLUMNS, labelOf } from "./columns.js";
import { element } from "./element.js";

// `sort(column)` is called when the user asks for it. Returns what shows the order.
export function head(row, select, order, sort) {
  const cells = COLUMNS.map(column => cellOf(column, sort));
  row.append(...cells);
  select.append(...COLUMNS.flatMap(column => [
    element("option", { value: column.id, textContent: labelOf(column) }),
  ]));
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
  const tip = element("span", { id: `about-${column.id}`, className: "tip", role: "tooltip",
    textContent: column.help });
  const button = element("button", { type: "button", "aria-describedby": tip.id },
    labelOf(column), ...(column.unit ? [element("small", { textContent: ` ${column.unit}` })] : []));
  button.addEventListener("click", () => sort(column));
  return element("th", { role: "columnheader", scope: "col",
    className: `c-${column.id}${column.isNumber ? " number" : ""}` }, button, tip);
}
