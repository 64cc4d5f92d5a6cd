// Draws series of states on a canvas: price with its regimes, sigma, mu, ts, and the probabilities.
// The page of `marketstate plot` and the live page have it. A series has arrays over time: `times`,
// `places` (on the time axis, without closed hours), `regime` (numbers of `regimes`), and `numbers`.

// The panels from top to bottom: name, unit, factor to the unit, share of the height.
const PANELS = [["close", "", 1, 3], ["sigma", "", 100, 1],
  ["mu", "% per candle", 100, 1], ["ts", "|mu| / sigma", 1, 1], ["probability", "%", 100, 1.5]];
const REGIMES = ["trend", "mr", "chop"], LEFT = 70, RIGHT = 10, BOTTOM = 24, BETWEEN = 12, TITLE = 24;
// So few states are marked, each with a dot.
const FEW = 60, MINUTE = 60e3, HOUR = 60 * MINUTE, DAY = 24 * HOUR;
const UNITS = [MINUTE, 5 * MINUTE, 15 * MINUTE, HOUR, 3 * HOUR, 6 * HOUR, 12 * HOUR, DAY,
  2 * DAY, 7 * DAY, 14 * DAY, 30 * DAY, 91 * DAY, 365 * DAY, 1461 * DAY];

const colour = name => getComputedStyle(document.documentElement).getPropertyValue("--" + name);
const utc = ms => new Date(ms).toISOString();
const inFull = ms => utc(ms).slice(0, 19).replace("T", " ") + " UTC";

// With its unit, as it is read out.
function inWords(name, value) {
  if (name === "close" || name === "missing") return String(value);
  if (name === "ts") return value.toFixed(4);
  const digits = REGIMES.includes(name) ? 1 : 5;
  return `${(100 * value).toFixed(digits)} %`;
}

// Regimes differ in hatching, too. `plain` and `marked` are how strong the colours are.
function hatched(context, regime, plain, marked) {
  const tile = document.createElement("canvas"), size = tile.width = tile.height = 8;
  const pen = tile.getContext("2d");
  pen.fillStyle = pen.strokeStyle = colour(regime);
  pen.globalAlpha = plain;
  pen.fillRect(0, 0, size, size);
  pen.globalAlpha = marked;
  pen.beginPath();
  if (regime === "trend") { pen.moveTo(0, size); pen.lineTo(size, 0); }
  pen.stroke();
  if (regime === "mr") pen.fillRect(3, 3, 2, 2);
  return context.createPattern(tile, "repeat");
}

// Round values between two others, at most about `most`.
function ticks(low, high, most) {
  const rough = (high - low) / most || 1, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map(one => one * power).find(one => one >= rough);
  const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9)), found = [];
  for (let i = Math.ceil(low / step); i * step <= high; i += 1) {
    const value = i * step, tiny = value && (digits > 7 || Math.abs(value) >= 1e8);
    const decimals = Math.max(0, Math.floor(Math.log10(Math.abs(value) || 1)) + digits);
    found.push([value, tiny ? value.toExponential(decimals) : value.toFixed(digits)]);
  }
  return found;
}

function nearest(sorted, wanted) {
  let low = 0, high = sorted.length - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sorted[middle] < wanted) low = middle + 1; else high = middle;
  }
  return low > 0 && wanted - sorted[low - 1] < sorted[low] - wanted ? low - 1 : low;
}

export class Plot {
  // `output` shows the numbers of one state; `buttons` have the keys that they stand for as values.
  constructor(canvas, output, buttons, series) {
    Object.assign(this, { canvas, output });
    this.touches = new Map();
    this.at = null;
    const all = () => this.show(this.places[0], this.places[this.places.length - 1]);
    const zoom = (factor, place) => {
      const [from, to] = this.view, pointed = this.at === null ? -1 : this.places[this.at];
      const middle = pointed >= from && pointed <= to ? pointed : (from + to) / 2;
      const fixed = place ?? middle;
      this.show(fixed - (fixed - from) * factor, fixed + (to - fixed) * factor);
    };
    const step = by => this.pointAt((this.at ?? this.places.length - 1) + by);
    const keys = { "+": () => zoom(0.5), "-": () => zoom(2), "0": all,
      ArrowLeft: () => step(-1), ArrowRight: () => step(1),
      PageDown: () => step(-60), PageUp: () => step(60), Home: () => step(-Infinity),
      End: () => step(Infinity) };
    for (const button of buttons) button.addEventListener("click", keys[button.value]);
    canvas.setAttribute("role", "slider");
    this.canvas.addEventListener("keydown", event => {
      const action = !event.ctrlKey && !event.metaKey && !event.altKey && keys[event.key];
      if (action) { action(); event.preventDefault(); }
    });
    this.canvas.addEventListener("wheel", event => {
      if (!event.ctrlKey && !event.shiftKey) return;
      event.preventDefault();
      zoom(event.deltaY + event.deltaX > 0 ? 1.25 : 0.8, this.place(event));
    }, { passive: false });
    this.canvas.addEventListener("dblclick", all);
    this.canvas.addEventListener("pointerdown", event => {
      this.touches.set(event.pointerId, event);
      this.point(this.place(event));
    });
    canvas.addEventListener("pointerleave", () => this.pointAt(null));
    for (const end of ["pointerup", "pointercancel", "pointerleave"])
      this.canvas.addEventListener(end, event => this.touches.delete(event.pointerId));
    this.canvas.addEventListener("pointermove", event => this.moved(event, zoom));
    const redraw = () => this.draw();
    new ResizeObserver(redraw).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
    Object.assign(this, series);
    all();
    this.tell();
  }

  // The same series with more states. If the newest was in view, it stays so.
  extend(series) {
    const [from, to] = this.view, first = this.places[0], last = this.places[this.places.length - 1];
    const pointed = this.at === null ? null : this.places[this.at];
    Object.assign(this, series);
    const end = this.places[this.places.length - 1];
    if (to >= last) this.show(from <= first ? this.places[0] : from + end - last, end);
    else this.show(from, to);
    this.at = pointed === null ? null : nearest(this.places, pointed);
    this.tell();
  }

  // A pointer that is pressed drags, two fingers zoom, anything else points.
  moved(event, zoom) {
    const before = this.touches.get(event.pointerId);
    const other = [...this.touches.values()].find(one => one.pointerId !== event.pointerId);
    if (before) this.touches.set(event.pointerId, event);
    if (before && other) {
      const gap = one => Math.max(20, Math.abs(one.clientX - other.clientX));
      zoom(gap(before) / gap(event), this.place(other));
    } else if (before && event.pointerType === "mouse") {
      const by = this.place(before) - this.place(event);
      this.show(this.view[0] + by, this.view[1] + by);
    } else this.point(this.place(event));
  }

  place(event) {
    const box = this.canvas.getBoundingClientRect();
    const share = (event.clientX - box.left - LEFT) / (box.width - LEFT - RIGHT);
    return this.view[0] + share * (this.view[1] - this.view[0]);
  }

  show(from, to) {
    const first = this.places[0], last = this.places[this.places.length - 1];
    const span = Math.min(last - first, Math.max(to - from, 10 * this.step)) || this.step;
    const start = Math.max(first, Math.min(from, last - span));
    this.view = [start, start + span];
    this.draw();
  }

  point(place) { this.pointAt(nearest(this.places, place)); }

  // Null: at none, and the numbers are those of the newest.
  pointAt(i) {
    this.at = i === null ? null : Math.max(0, Math.min(this.places.length - 1, i));
    this.tell();
    this.draw();
  }

  tell() {
    const last = this.places.length - 1, i = this.at ?? last;
    const texts = [inFull(this.times[i]), this.regimes[this.regime[i]],
      ...Object.entries(this.numbers).map(([name, values]) => `${name} ${inWords(name, values[i])}`)];
    while (this.output.children.length > texts.length) this.output.lastChild.remove();
    texts.forEach((text, k) => {
      const item = this.output.children[k]
        ?? this.output.appendChild(document.createElement("span"));
      if (item.textContent !== text) item.textContent = text;
    });
    const values = { valuemin: 0, valuemax: last, valuenow: i, valuetext: texts.join(", ") };
    for (const [name, value] of Object.entries(values)) {
      this.canvas.setAttribute(`aria-${name}`, value);
    }
  }

  draw() {
    cancelAnimationFrame(this.frame);
    this.frame = requestAnimationFrame(() => this.paint());
  }

  paint() {
    const { canvas, places, view: [from, to] } = this, context = canvas.getContext("2d");
    const ratio = devicePixelRatio || 1, width = canvas.clientWidth, height = canvas.clientHeight;
    canvas.width = width * ratio;
    canvas.height = height * ratio;
    context.scale(ratio, ratio);
    context.font = `12px ${getComputedStyle(canvas).fontFamily}`;
    this.context = context;
    this.x = place => LEFT + (place - from) / (to - from) * (width - LEFT - RIGHT);
    this.first = Math.max(0, nearest(places, from) - 1);
    this.end = Math.min(places.length, nearest(places, to) + 2);
    const shares = PANELS.reduce((sum, panel) => sum + panel[3], 0);
    const free = height - BOTTOM - BETWEEN * PANELS.length;
    let top = BETWEEN;
    for (const [name, unit, factor, share] of PANELS) {
      const bottom = top + free * share / shares;
      const its = name === "sigma" ? `% per ${this.sigma_per}` : unit || this.unit;
      this.panel(name, its, factor, top, bottom, width - RIGHT);
      top = bottom + BETWEEN;
    }
    this.dates(height - BOTTOM, width);
    if (this.at === null) return;
    const x = this.x(places[this.at]);
    if (x < LEFT || x > width - RIGHT) return;
    context.strokeStyle = colour("ink");
    context.setLineDash([4, 3]);
    context.strokeRect(x, BETWEEN, 0, height - BOTTOM - BETWEEN);
  }

  panel(name, unit, factor, top, bottom, right) {
    const { context } = this, isStack = name === "probability";
    const values = isStack ? [0, 1] : this.numbers[name].slice(this.first, this.end);
    let low = Infinity, high = -Infinity;
    for (const value of values) { low = Math.min(low, value); high = Math.max(high, value); }
    if (name === "sigma" || name === "ts") low = 0;
    const room = isStack ? 0 : 0.08 * (high - low) || 0.05 * Math.abs(high) || 1;
    if (low !== 0) low -= room;
    // Above the line there is a place for the name of the panel.
    if (!isStack) high += (high - low) * TITLE / Math.max(TITLE, bottom - top - TITLE);
    [low, high] = [low * factor, high * factor];
    const marks = ticks(low, high, Math.max(2, (bottom - top) / 28));
    const y = value => bottom - (value - low) / (high - low) * (bottom - top);
    context.save();
    context.beginPath();
    context.rect(LEFT, top, right - LEFT, bottom - top);
    context.clip();
    if (isStack) this.stack(y);
    if (name === "close") this.background(top, bottom);
    this.gaps(top, bottom);
    context.strokeStyle = colour("faint");
    for (const [value] of marks) context.strokeRect(LEFT, Math.round(y(value)) + 0.5, right, 0);
    context.strokeStyle = colour("edge");
    if (name === "mu") context.strokeRect(LEFT, Math.round(y(0)) + 0.5, right, 0);
    context.strokeStyle = colour("ink");
    context.lineWidth = 1.25;
    if (!isStack) this.line(this.numbers[name], value => y(value * factor));
    if (name === "close") this.changes(top);
    context.restore();
    context.strokeStyle = colour("edge");
    context.strokeRect(LEFT + 0.5, Math.round(bottom) + 0.5, right - LEFT, 0);
    context.fillStyle = colour("soft");
    context.textAlign = "right";
    context.textBaseline = "middle";
    for (const [value, text] of marks) context.fillText(text, LEFT - 5, y(value));
    context.textAlign = "left";
    context.textBaseline = "top";
    const title = `${name === "close" ? "price" : name} [${unit}]`;
    // Readable on whatever is below it.
    context.fillStyle = colour("paper");
    context.fillRect(LEFT + 1, top, context.measureText(title).width + 9, 19);
    context.fillStyle = colour("ink");
    context.fillText(title, LEFT + 5, top + 4);
  }

  // Where candles are missing, from the state before to the one after; a single one is seen, too.
  gaps(top, bottom) {
    const { context, numbers: { missing } } = this;
    context.fillStyle = colour("lacking");
    context.globalAlpha = 0.3;
    for (let i = Math.max(1, this.first); i < this.end; i += 1) {
      if (!this.isGap(i) && !(missing && missing[i] > missing[i - 1])) continue;
      const start = this.x(this.places[i - 1]);
      context.fillRect(start, top, Math.max(2, this.x(this.places[i]) - start), bottom - top);
    }
    context.globalAlpha = 1;
  }

  // A mark at the upper edge wherever the regime changes, in the colour of the new one.
  changes(top) {
    const { context } = this;
    for (let i = Math.max(1, this.first); i < this.end; i += 1) {
      const name = this.regimes[this.regime[i]], x = this.x(this.places[i]);
      if (this.regime[i] === this.regime[i - 1]) continue;
      context.fillStyle = colour(REGIMES.includes(name) ? name : "ink");
      context.beginPath();
      for (const [across, down] of [[-5, 0], [5, 0], [0, 9]]) context.lineTo(x + across, top + down);
      context.fill();
    }
  }

  isGap(i) { return this.places[i] - this.places[i - 1] > 2.5 * this.step; }

  line(values, y) {
    const { context } = this;
    context.lineJoin = "round";
    context.beginPath();
    for (let i = this.first; i < this.end; i += 1) {
      const where = [this.x(this.places[i]), y(values[i])];
      if (i === this.first || this.isGap(i)) context.moveTo(...where);
      else context.lineTo(...where);
    }
    context.stroke();
    if (this.end - this.first > FEW) return;
    context.fillStyle = colour("ink");
    for (let i = this.first; i < this.end; i += 1)
      context.fillRect(this.x(this.places[i]) - 1.5, y(values[i]) - 1.5, 3, 3);
  }

  // Calls `paint` with start and end of each run of equal values.
  runs(values, paint) {
    for (let start = this.first, i = start + 1; i <= this.end; i += 1) {
      if (i < this.end && values[i] === values[start] && !this.isGap(i)) continue;
      const isOpen = i < this.end && !this.isGap(i);
      const stop = this.x(isOpen ? this.places[i] : this.places[i - 1] + this.step);
      paint(values[start], this.x(this.places[start]), stop);
      start = i;
    }
  }

  background(top, bottom) {
    const { context } = this;
    const fills = this.regimes.map(name =>
      REGIMES.includes(name) && hatched(context, name, name === "chop" ? 0.08 : 0.2, 0.45));
    this.runs(this.regime, (regime, start, stop) => {
      if (!fills[regime]) return;
      context.fillStyle = fills[regime];
      context.fillRect(start, top, stop - start, bottom - top);
    });
    if (!this.numbers.missing) return;
    context.fillStyle = colour("lacking");
    this.runs(this.numbers.missing.map(count => count > 0), (isLacking, start, stop) => {
      if (isLacking) context.fillRect(start, bottom - 5, stop - start, 5);
    });
  }

  stack(y) {
    const { context } = this, below = new Array(this.places.length).fill(0);
    for (const regime of REGIMES) {
      const above = below.map((value, i) => value + this.numbers[regime][i]);
      context.fillStyle = hatched(context, regime, 0.5, 0.95);
      for (let start = this.first, i = start + 1; i <= this.end; i += 1) {
        if (i < this.end && !this.isGap(i)) continue;
        context.beginPath();
        for (let k = start; k < i; k += 1) context.lineTo(this.x(this.places[k]), y(100 * above[k]));
        for (let k = i - 1; k >= start; k -= 1)
          context.lineTo(this.x(this.places[k]), y(100 * below[k]));
        context.fill();
        start = i;
      }
      above.forEach((value, i) => { below[i] = value; });
    }
  }

  // A date stands where the first candle after it closes, so closed hours need no place.
  dates(top, width) {
    // Candles close one millisecond before a full second.
    const times = this.times.map(ms => Math.round(ms / 1e3) * 1e3);
    const { context } = this, shown = times[this.end - 1] - times[this.first];
    const unit = UNITS.find(one => shown / one <= width / 90) ?? UNITS[UNITS.length - 1];
    let free = -Infinity;
    context.textAlign = "center";
    context.textBaseline = "top";
    context.fillStyle = colour("soft");
    for (let i = Math.max(1, this.first); i < this.end; i += 1) {
      const since = size => Math.floor(times[i] / size) !== Math.floor(times[i - 1] / size);
      const x = this.x(this.places[i]);
      if (!since(unit) || x < free || x < LEFT || x > width - 40) continue;
      const text = utc(times[i]);
      context.fillText(since(DAY) ? text.slice(0, 10) : text.slice(11, 16), x, top + 4);
      free = x + 78;
    }
  }
}
