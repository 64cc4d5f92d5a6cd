// The three probabilities as a bar. Regimes differ in pattern as well as in colour.

import { element } from "./element.js";
import { percent } from "./format.js";

export class Bar {
  constructor(regimes) {
    this.parts = regimes.map(name => element("i", { className: `of ${name}` }));
    this.words = element("span", { className: "unseen" });
    this.root = element("span", { className: "bar" }, ...this.parts, this.words);
    this.regimes = regimes;
  }

  draw(state) {
    this.parts.forEach((part, i) => {
      const grow = percent(state[this.regimes[i]], 1);
      if (part.style.flexGrow !== grow) part.style.flexGrow = grow;
    });
    const words = this.regimes.map(name => `${name} ${percent(state[name], 0)} %`).join(", ");
    if (this.words.textContent !== words) this.words.textContent = words;
  }
}
