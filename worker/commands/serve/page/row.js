// The row of one market. It writes only what has changed.

import { Bar, drawChip } from "./bar.js";
import { classOf, COLUMNS, labelWithUnit } from "./columns.js";
import { element, mark, say } from "./element.js";
import { addressOf } from "./address.js";
import { Sparkline } from "./sparkline.js";

const AGE = COLUMNS.find(column => column.id === "age");

export class Row {
  constructor(model, symbol) {
    this.model = model;
    this.sparkline = new Sparkline();
    this.bar = new Bar(model.settings.regimes);
    this.link = element("a", { href: addressOf(symbol), tabIndex: -1, textContent: symbol });
    this.chip = element("i", { className: "of" });
    this.texts = new Map();
    this.root = element("tr", { role: "row" }, ...COLUMNS.map(column => this.#cell(column)));
    this.symbol = symbol;
    this.draw();
  }

  get market() { return this.model.markets.get(this.symbol); }

  draw() {
    const { market, model } = this;
    for (const [column, place] of this.texts) say(place, column.text(market, model));
    this.sparkline.draw(market.closes, model.settings.closes_kept);
    this.bar.draw(market.state);
    drawChip(this.chip, market.state.regime, model.settings.regimes);
    mark(this.root, "synthetic", market.synthetic);
    this.drawAge();
  }

  drawAge() {
    const { market, model } = this;
    if (!market) return; // it goes with the next frame
    say(this.texts.get(AGE), AGE.text(market, model));
    mark(this.root, "stale", model.isStale(market));
  }

  #cell(column) {
    const isHead = column === COLUMNS[0];
    const cell = element(isHead ? "th" : "td", {
      role: isHead ? "rowheader" : "cell",
      className: classOf(column), "data-label": labelWithUnit(column) });
    const inside = {
      symbol: () => [this.link], recent: () => [this.sparkline.root], bar: () => [this.bar.root],
      regime: () => [this.chip, this.#text(column)],
    }[column.id] ?? (() => [this.#text(column)]);
    cell.append(...inside());
    return cell;
  }

  #text(column) {
    const place = element("span");
    this.texts.set(column, place);
    return place;
  }
}
