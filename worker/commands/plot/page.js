"use strict";
// The panels from top to bottom: name, unit, factor to the unit, share of the height.
const PANELS = [["close", "", 1, 3], ["sigma", "", 100, 1],
  ["mu", "% per candle", 100, 1], ["ts", "|mu| / sigma", 1, 1], ["probability", "%", 100, 1.5]];
const REGIMES = ["trend", "mr", "chop"], LEFT = 78, RIGHT = 8, BOTTOM = 24, BETWEEN = 13;
// So few states are marked, each with a dot.
const FEW = 60, MINUTE = 60e3, HOUR = 60 * MINUTE, DAY = 24 * HOUR;
const UNITS = [MINUTE, 5 * MINUTE, 15 * MINUTE, HOUR, 3 * HOUR, 6 * HOUR, 12 * HOUR, DAY,
  2 * DAY, 7 * DAY, 14 * DAY, 30 * DAY, 91 * DAY, 365 * DAY, 1461 * DAY];

const colour = name => getComputedStyle(document.documentElement).getPropertyValue("--" + name);
const utc = ms => new Date(ms).toISOString();

// Regimes differ in hatching, too.
function hatched(context, regime) {
  const tile = document.createElement("canvas"), size = tile.width = tile.height = 8;
  const pen = tile.getContext("2d");
  pen.fillStyle = pen.strokeStyle = colour(regime);
  pen.globalAlpha = 0.25;
  pen.fillRect(0, 0, size, size);
  pen.globalAlpha = 0.6;
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

class Plot {
  constructor(section) {
    Object.assign(this, JSON.parse(section.querySelector("script").textContent));
    this.canvas = section.querySelector("canvas");
    this.output = section.querySelector(".numbers");
    this.touches = new Map();
    this.at = null;
    const all = () => this.show(this.places[0], this.places[this.places.length - 1]);
    const zoom = (factor, place) => {
      const [from, to] = this.view, pointed = this.at === null ? -1 : this.places[this.at];
      const middle = pointed >= from && pointed <= to ? pointed : (from + to) / 2;
      const fixed = place ?? middle;
      this.show(fixed - (fixed - from) * factor, fixed + (to - fixed) * factor);
    };
    const move = by => this.point(
      this.places[Math.min(this.places.length - 1, Math.max(0, (this.at ?? 0) + by))]);
    const keys = { "+": () => zoom(0.5), "-": () => zoom(2), "0": all,
      ArrowLeft: () => move(-1), ArrowRight: () => move(1) };
    for (const button of section.querySelectorAll("button"))
      button.addEventListener("click", keys[button.value]);
    this.canvas.addEventListener("keydown", event => {
      const action = keys[event.key];
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
    for (const end of ["pointerup", "pointercancel", "pointerleave"])
      this.canvas.addEventListener(end, event => this.touches.delete(event.pointerId));
    this.canvas.addEventListener("pointermove", event => this.moved(event, zoom));
    all();
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

  point(place) {
    const i = this.at = nearest(this.places, place);
    const texts = [utc(this.times[i]).slice(0, 19).replace("T", " ") + " UTC",
      this.regimes[this.regime[i]],
      ...Object.entries(this.numbers).map(([name, values]) => name + " " + values[i])];
    this.output.replaceChildren(...texts.map(text => {
      const item = document.createElement("span");
      item.textContent = text;
      return item;
    }));
    this.draw();
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
    context.font = "12px sans-serif";
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
    // Above the line there is a place for the name of the panel.
    const room = isStack ? 0 : 0.08 * (high - low) || 0.05 * Math.abs(high) || 1;
    [low, high] = [(low - (low === 0 ? 0 : room)) * factor, (high + 4 * room) * factor];
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
    for (const [value] of marks) context.strokeRect(LEFT, y(value), right, 0);
    context.strokeStyle = colour("ink");
    if (name === "mu") context.strokeRect(LEFT, y(0), right, 0);
    if (!isStack) this.line(this.numbers[name], value => y(value * factor));
    if (name === "close") this.changes(top);
    context.restore();
    context.strokeStyle = context.fillStyle = colour("ink");
    context.strokeRect(LEFT, top, right - LEFT, bottom - top);
    context.textAlign = "right";
    context.textBaseline = "middle";
    for (const [value, text] of marks) context.fillText(text, LEFT - 5, y(value));
    context.textAlign = "left";
    context.textBaseline = "top";
    context.fillText(`${name === "close" ? "price" : name} [${unit}]`, LEFT + 5, top + 4);
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
    const fills = this.regimes.map(name => REGIMES.includes(name) && hatched(context, name));
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
      context.fillStyle = hatched(context, regime);
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

const plots = [...document.querySelectorAll("section")].map(section => new Plot(section));
const redraw = () => plots.forEach(plot => plot.draw());
addEventListener("resize", redraw);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
