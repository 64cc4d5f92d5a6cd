// The table of all markets: its rows, and what the keyboard and the pointer do with them.

import { COLUMNS } from "./columns.js";
import { mark } from "./element.js";
import { Row } from "./row.js";

const KEYS = { ArrowDown: 1, ArrowUp: -1, PageDown: 20, PageUp: -20, Home: -Infinity, End: Infinity };

export class Table {
  constructor(root, model, order) {
    Object.assign(this, { root, model, order });
    this.body = root.querySelector("tbody");
    this.rows = new Map();
    this.shown = [];
    // The one row that the Tab key reaches.
    this.marked = null;
    for (const name of ["pointermove", "scroll", "keydown", "wheel"]) {
      root.addEventListener(name, () => order.noteReading(), { passive: true });
    }
    this.body.addEventListener("keydown", event => this.#press(event));
    this.body.addEventListener("focusin", event => this.#markOf(event.target));
    this.body.addEventListener("click", event => this.#click(event));
    root.addEventListener("scroll", () => this.drawAges(), { passive: true });
  }

  get hasFocus() { return this.body.contains(document.activeElement); }

  // New rows, rows that are gone, and the order: `again` by the values of now.
  arrange(again) {
    const { model, order, rows } = this;
    for (const [symbol, row] of rows) {
      if (model.markets.has(symbol)) continue;
      row.root.remove();
      rows.delete(symbol);
    }
    for (const symbol of model.markets.keys()) {
      if (rows.has(symbol)) continue;
      rows.set(symbol, new Row(model, symbol));
      if (symbol === this.chosen) this.#choice(symbol, true);
    }
    const known = new Set(order.symbols);
    if (again || order.column === COLUMNS[0]) order.symbols = order.of(model.markets.values());
    else {
      order.symbols = [...order.symbols.filter(symbol => rows.has(symbol)),
        ...[...rows.keys()].filter(symbol => !known.has(symbol))];
    }
    this.filter();
  }

  // The Tab key reaches the first row again.
  restart() { this.#reach(null); }

  filter() {
    this.shown = this.order.symbols.filter(symbol =>
      this.order.has(this.model.markets.get(symbol)));
    let here = this.body.firstChild;
    for (const symbol of this.shown) {
      const { root } = this.rows.get(symbol);
      if (here === root) here = here.nextSibling;
      else this.body.insertBefore(root, here);
    }
    while (here) {
      const next = here.nextSibling;
      here.remove();
      here = next;
    }
    if (!this.shown.includes(this.marked)) this.#reach(this.shown[0] ?? null);
  }

  draw(symbols) {
    for (const symbol of symbols) this.rows.get(symbol)?.draw();
  }

  // Of the rows in view: the others get theirs when they come into it.
  drawAges() {
    const top = this.root.getBoundingClientRect().top;
    const isInner = getComputedStyle(this.root).overflowY !== "visible";
    const from = isInner ? top : 0, to = isInner ? top + this.root.clientHeight : innerHeight;
    for (const symbol of this.shown.slice(...this.#inView(from, to))) {
      this.rows.get(symbol).drawAge();
    }
  }

  // How many rows are not where the values of now would have them.
  get misplaced() {
    const now = this.order.of(this.model.markets.values())
      .filter(symbol => this.order.has(this.model.markets.get(symbol)));
    return now.filter((symbol, i) => symbol !== this.shown[i]).length;
  }

  choose(symbol) {
    if (this.chosen === symbol) return;
    this.#choice(this.chosen, false);
    this.#choice(symbol, true);
    this.chosen = symbol;
  }

  focus(symbol) {
    this.rows.get(this.shown.includes(symbol) ? symbol : this.marked)?.link.focus();
  }

  #choice(symbol, isSo) {
    const row = this.rows.get(symbol);
    if (!row) return;
    mark(row.root, "chosen", isSo);
    if (isSo) row.link.setAttribute("aria-current", "true");
    else row.link.removeAttribute("aria-current");
  }

  // Rows are of one height, so the first and the last in view follow from that of the first two.
  #inView(from, to) {
    if (this.shown.length < 2) return [0];
    const [first, second] = this.shown.slice(0, 2)
      .map(symbol => this.rows.get(symbol).root.getBoundingClientRect().top);
    const height = second - first || 1;
    return [Math.max(0, Math.floor((from - first) / height)), Math.ceil((to - first) / height) + 1];
  }

  #reach(symbol) {
    const before = this.rows.get(this.marked), now = this.rows.get(symbol);
    if (before) before.link.tabIndex = -1;
    if (now) now.link.tabIndex = 0;
    this.marked = symbol;
  }

  #markOf(target) {
    const symbol = this.shown.find(name => this.rows.get(name).root.contains(target));
    if (symbol !== undefined) this.#reach(symbol);
  }

  #press(event) {
    const by = KEYS[event.key];
    if (by === undefined || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    const at = this.shown.indexOf(this.marked) + by;
    this.focus(this.shown[Math.max(0, Math.min(this.shown.length - 1, at))]);
  }

  // All of a row opens its market, unless a text was selected in it.
  #click(event) {
    if (event.target.closest("a") || String(getSelection())) return;
    const row = event.target.closest("tr");
    row?.querySelector("a").click();
  }
}
