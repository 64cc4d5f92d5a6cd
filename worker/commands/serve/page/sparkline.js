// The last closes of a market as a line, from their lowest to their highest.

import { svg } from "./element.js";

const WIDTH = 120, HEIGHT = 22, EDGE = 2;

export class Sparkline {
  constructor() {
    this.line = svg("path");
    this.root = svg("svg", { class: "sparkline", viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
      preserveAspectRatio: "none", "aria-hidden": "true" }, this.line);
  }

  // `most`: how many closes the whole width has.
  draw(closes, most) {
    const low = Math.min(...closes), high = Math.max(...closes);
    const x = i => WIDTH - (closes.length - 1 - i) / Math.max(1, most - 1) * WIDTH;
    const y = close => high === low ? HEIGHT / 2
      : HEIGHT - EDGE - (close - low) / (high - low) * (HEIGHT - 2 * EDGE);
    this.line.setAttribute("d", closes.map((close, i) =>
      `${i ? "L" : "M"}${x(i).toFixed(1)} ${y(close).toFixed(1)}`).join(""));
  }
}
