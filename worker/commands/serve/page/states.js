// The last states of a market as a table: what the plots show, for those who do not see them.

import { element } from "./element.js";
import { percent, signed } from "./format.js";

const ROWS = 30;
const COLUMNS = ["close time (UTC)", "price", "sigma %", "mu %", "ts", "trend %", "mr %", "chop %",
  "regime"];

export class StateTable {
  constructor() {
    this.body = element("tbody");
    this.root = element("details", {},
      element("summary", { textContent: `The last ${ROWS} states as a table` }),
      element("div", { className: "scrolled", tabIndex: 0, role: "region",
        "aria-label": "The last states" },
      element("table", {}, element("thead", {}, element("tr", {}, ...COLUMNS.map(name =>
        element("th", { scope: "col", textContent: name })))), this.body)));
    this.root.addEventListener("toggle", () => this.draw(this.series));
  }

  draw(series) {
    this.series = series;
    if (!this.root.open) return;
    const { times, numbers, regime, regimes } = series;
    const newest = times.map((_, i) => i).slice(-ROWS).reverse();
    this.body.replaceChildren(...newest.map(i => element("tr", {},
      element("th", { scope: "row",
        textContent: new Date(times[i]).toISOString().slice(0, 19).replace("T", " ") }),
      ...[String(numbers.close[i]), percent(numbers.sigma[i], 4),
        signed(percent(numbers.mu[i], 5)), numbers.ts[i].toFixed(3),
        ...["trend", "mr", "chop"].map(name => percent(numbers[name][i], 1)),
        regimes[regime[i]]].map(text => element("td", { textContent: text })))));
  }
}
