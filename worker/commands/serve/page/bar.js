// The three probabilities as a bar, and a chip for one regime. Regimes differ in pattern as well as in
// colour.

import { element, say } from "./element.js";
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
    say(this.words, words);
  }
}

// Of a regime that is not known, without a pattern.
export function drawChip(chip, regime, regimes) {
  const className = regimes.includes(regime) ? `of ${regime}` : "of";
  if (chip.className !== className) chip.className = className;
}
