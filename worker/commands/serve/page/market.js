// One market: its numbers, and the plots of `marketstate plot`, which go on after each close.

import { addressOf, closeMarket } from "./address.js";
import { Bar, drawChip } from "./bar.js";
import { COLUMNS, labelWithUnit } from "./columns.js";
import { element, mark, say } from "./element.js";
import { percent } from "./format.js";
import { Plot } from "./plots.js";
import { SeriesReader } from "./series.js";
import { StateTable } from "./states.js";

// The rest is in the plots, or has a place of its own.
const IN_NUMBERS = ["sigma", "mu", "ts", "held", "missing", "age"];
const HELP = "Point at the plots to read their numbers, or use the arrow keys. Zoom with Ctrl and the "
  + "wheel, with two fingers, or with + and -; 0 shows all; drag to move.";

export class MarketView {
  constructor(root, model, table) {
    Object.assign(this, { root, model, table, symbol: null, reader: null, plot: null });
  }

  // What the address says: a symbol, or null for none.
  // `hasMoved`: by the user, whose focus goes along.
  follow(symbol, hasMoved) {
    if (symbol === this.symbol) return;
    const before = this.symbol;
    this.reader?.end();
    this.symbol = symbol;
    this.root.hidden = symbol === null;
    mark(document.body, "with-market", symbol !== null);
    this.table.choose(symbol);
    if (symbol === null) {
      this.root.replaceChildren();
      this.plot = this.reader = null;
      this.table.focus(before);
      return;
    }
    this.#open();
    if (hasMoved) this.title.focus();
  }

  // Of another interval.
  again() {
    this.reader?.end();
    if (this.symbol !== null) this.#open();
  }

  draw() {
    if (this.symbol === null || this.model.settings === null) return;
    const market = this.model.markets.get(this.symbol);
    this.numbers.hidden = !market;
    if (!market) return;
    const { regime } = market.state;
    say(this.price, COLUMNS.find(column => column.id === "price").text(market, this.model));
    say(this.regime, regime);
    drawChip(this.chip, regime, this.model.settings.regimes);
    if (!this.bar) {
      this.bar = new Bar(this.model.settings.regimes);
      this.key.append(...this.model.settings.regimes.map(name => element("span", {},
        element("i", { className: `of ${name}` }), name, " ", element("b"))));
      this.barPlace.append(this.bar.root);
    }
    this.bar.draw(market.state);
    this.key.querySelectorAll("b").forEach((place, i) => say(place,
      `${percent(market.state[this.model.settings.regimes[i]], 1)} %`));
    mark(this.root, "synthetic", market.synthetic);
    this.#showNeighbours();
    this.tick();
  }

  // What changes by itself as time passes.
  tick() {
    const market = this.model.markets.get(this.symbol);
    if (!market) return;
    for (const [column, place] of this.places) {
      const text = column.text(market, this.model);
      say(place, text);
      place.parentElement.hidden = text === "";
    }
    mark(this.root, "stale", this.model.isStale(market));
  }

  // After the server has sent states of these symbols.
  readIf(symbols) {
    if (symbols.has(this.symbol)) this.reader?.read();
  }

  redraw() { this.plot?.draw(); }

  #open() {
    this.#build();
    this.draw();
    this.reader = new SeriesReader(this.symbol, found => this.#show(found));
    this.reader.read();
  }

  #show(series) {
    const isTrouble = typeof series === "string";
    say(this.trouble, isTrouble ? series : "");
    if (isTrouble) return;
    this.body.hidden = false;
    if (this.plot) this.plot.extend(series);
    else this.plot = new Plot(this.canvas, this.output, this.buttons, series);
    say(this.described, [series.described, ...series.remarks].join("; "));
    this.states.draw(series);
  }

  // Those above and below in the table.
  #showNeighbours() {
    const { shown } = this.table, at = shown.indexOf(this.symbol);
    [-1, 1].forEach((by, i) => {
      const link = this.neighbours[i], symbol = at < 0 ? undefined : shown[at + by];
      link.hidden = symbol === undefined;
      if (link.hidden) return;
      link.href = addressOf(symbol);
      link.setAttribute("aria-label", `${link.textContent} market, ${symbol}`);
    });
  }

  #build() {
    const { symbol } = this;
    this.title = element("h2", { id: "market-title", tabIndex: -1, textContent: symbol });
    this.price = element("span", { className: "price" });
    this.chip = element("i", { className: "of" });
    this.regime = element("span");
    const close = element("button", { type: "button", textContent: "Close", "aria-label":
      "Close, back to all markets" });
    close.addEventListener("click", closeMarket);
    this.neighbours = ["Previous", "Next"].map(textContent =>
      element("a", { textContent, hidden: true }));
    this.places = COLUMNS.filter(column => IN_NUMBERS.includes(column.id))
      .map(column => [column, element("dd")]);
    this.barPlace = element("div");
    this.key = element("p", { className: "key" });
    this.bar = null;
    this.numbers = element("div", { className: "now", hidden: true },
      element("p", {}, this.price, this.chip, this.regime),
      element("dl", {}, ...this.places.map(([column, place]) => element("div", {},
        element("dt", { textContent: labelWithUnit(column), title: column.help }), place))),
      this.barPlace, this.key);
    this.trouble = element("p", { className: "nothing", role: "status",
      textContent: "Loading …" });
    this.output = element("p", { className: "at" });
    this.buttons = [["-", "Zoom out"], ["+", "Zoom in"], ["0", "Show all"]].map(([value, label]) =>
      element("button", { type: "button", value, "aria-label": label,
        textContent: value === "0" ? "all" : value }));
    this.canvas = element("canvas", { tabIndex: 0, "aria-label": `The states of ${symbol} over time`,
      "aria-describedby": "plot-help" });
    this.described = element("p");
    this.states = new StateTable();
    this.body = element("div", { className: "plots", hidden: true },
      element("div", { className: "tools" }, ...this.buttons, this.output), this.canvas,
      this.described, element("p", { id: "plot-help", textContent: HELP }), this.states.root);
    this.plot = null;
    this.root.replaceChildren(
      element("div", { className: "tools" }, this.title, element("nav", { "aria-label":
        "Other markets" }, ...this.neighbours), close),
      this.numbers, this.trouble, this.body);
  }
}
