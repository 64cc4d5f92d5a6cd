// The series of states that the plots of one market draw, as the server has it.

import { ofInterval } from "./address.js";

const APART_MS = 1e3;

// Asks at most once per second, and once more if there was a reason meanwhile. `show` gets the series,
// or in words why there is none.
export class SeriesReader {
  constructor(symbol, show) {
    Object.assign(this, { symbol, show, isReading: false, isOld: false, ended: false });
  }

  async read() {
    this.isOld = true;
    if (this.isReading) return;
    this.isReading = true;
    while (this.isOld && !this.ended) {
      this.isOld = false;
      const found = await this.#fetch();
      if (!this.ended) this.show(found);
      await new Promise(resolve => setTimeout(resolve, APART_MS));
    }
    this.isReading = false;
  }

  end() { this.ended = true; }

  async #fetch() {
    try {
      const reply = await fetch(ofInterval(`states/${encodeURIComponent(this.symbol)}.json`));
      return reply.ok ? await reply.json() : await reply.text();
    } catch {
      return "The server does not answer. The plots come with the next state.";
    }
  }
}
