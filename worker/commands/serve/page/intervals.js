// The switch between the candle interval and longer ones. Without longer ones there is none.

import { radio } from "./radio.js";

export class Intervals {
  // `choose(name)` is called when the user asks for another; null is the candle interval.
  constructor(root, choose) {
    Object.assign(this, { root, choose, inputs: new Map() });
  }

  draw({ settings: { interval, intervals } }) {
    if ([...this.inputs.keys()].join() !== intervals.join()) this.#build(intervals);
    this.inputs.get(interval).checked = true;
  }

  #build(names) {
    this.root.hidden = names.length < 2;
    this.inputs.forEach(input => input.parentElement.remove());
    this.inputs = new Map(names.map((name, i) => {
      const label = radio("interval", name, () => this.choose(i ? name : null), name);
      this.root.append(label);
      return [name, label.querySelector("input")];
    }));
  }
}
