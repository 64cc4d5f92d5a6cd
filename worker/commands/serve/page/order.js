// Which markets are shown, and in which order.
//
// The order is that of the moment in which it was asked for. It is brought up to date only while
// nobody reads: not within READING_MS of a key, a scroll or a move of the pointer over the rows, and
// not while one of them has the focus. Otherwise a row would move from under the eyes.

const READING_MS = 10e3;

export class Order {
  constructor(column) {
    this.column = column;
    this.isFalling = false;
    this.text = "";
    this.regime = "";
    this.symbols = [];
    this.read_ms = -Infinity;
  }

  // The same column again turns the order round.
  by(column) {
    this.isFalling = column === this.column ? !this.isFalling : Boolean(column.falling);
    this.column = column;
  }

  noteReading() { this.read_ms = performance.now(); }

  get isRead() { return performance.now() - this.read_ms < READING_MS; }

  has(market) {
    return market.symbol.toUpperCase().includes(this.text.toUpperCase())
      && (this.regime === "" || market.state.regime === this.regime);
  }

  // Equal values are in the order of their symbols, either way round.
  of(markets) {
    const { value } = this.column, sign = this.isFalling ? -1 : 1;
    return [...markets].map(market => [value(market), market.symbol])
      .sort(([one, oneName], [other, otherName]) =>
        sign * compare(one, other) || compare(oneName, otherName))
      .map(([, symbol]) => symbol);
  }
}

function compare(one, other) { return one < other ? -1 : one > other ? 1 : 0; }
