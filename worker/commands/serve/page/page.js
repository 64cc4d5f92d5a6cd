// The live page: hears the server's events, and draws what has changed, once per frame.

import { chooseInterval, closeMarket, openSymbol } from "./address.js";
import { COLUMNS } from "./columns.js";
import { element, mark, say } from "./element.js";
import { Facts } from "./facts.js";
import { head } from "./head.js";
import { Intervals } from "./intervals.js";
import { MarketView } from "./market.js";
import { Model } from "./model.js";
import { Order } from "./order.js";
import { radio } from "./radio.js";
import { Remarks } from "./remarks.js";
import { listen } from "./source.js";
import { Table } from "./table.js";
import { dismissibleTips, dismissTip } from "./tips.js";
import { Warnings } from "./warnings.js";

// While nobody reads, the order is brought up to date so often.
const ARRANGE_MS = 10e3;

const find = selector => document.querySelector(selector);
const model = new Model(), order = new Order(COLUMNS[0]), changed = new Set();
const connection = { isUp: true, lost_ms: 0 };
const table = new Table(find("#rows"), model, order);
const market = new MarketView(find("#market"), model, table);
const facts = new Facts(find("#facts"), find("#clock"), find("#connection"));
const warnings = new Warnings(find("#warnings"));
const remarks = new Remarks(find("#remarks"), find("#meaning"), find("#version"));
const filter = find("#filter"), resort = find("#resort"), rows = find("#rows");
const intervals = new Intervals(find("#intervals"), name => {
  chooseInterval(name);
  followAddress();
});
let frame = 0, arranged_ms = 0, mustArrange = false, mustSort = false;

const showOrder = head(rows.querySelector("thead tr"), find("#sorting"), order, column => {
  order.by(column);
  choose(true);
});

// The user wants others, or another order.
function choose(again) {
  table.restart();
  arrange(again);
}

function arrange(again) {
  if (model.settings === null) return;
  arranged_ms = performance.now();
  showOrder();
  table.arrange(again);
  drawShown();
}

function drawShown() {
  const { size } = model.markets, here = table.shown.length;
  say(find("#shown"), `${here === size ? "" : `${here} of `}${size} market${size === 1 ? "" : "s"}${
    model.group.catching_up ? "; catching up, so not every state is shown" : ""}`);
  const why = size ? "No market matches the filter."
    : `No states yet in ${model.settings.output_stream}.`;
  say(find("#empty"), here ? "" : why);
  for (const label of find("#regimes").querySelectorAll("label")) {
    const { value } = label.querySelector("input");
    const among = [...model.markets.values()]
      .filter(one => value === "" || one.state.regime === value).length;
    say(label.querySelector("b"), String(among));
  }
  mark(rows, "complete", [...model.markets.values()].every(one => !one.state.missing));
  const misplaced = table.misplaced;
  resort.disabled = misplaced === 0;
  say(resort, misplaced ? `Sort again (${misplaced})` : "Sorted");
}

function hear(name, data) {
  if (name === "all") {
    if (model.version !== null && model.version !== data.version) location.reload();
    if (model.settings === null) drawRegimes(data.settings.regimes);
    const isOther = model.settings !== null && model.settings.interval !== data.settings.interval;
    model.replace(data);
    intervals.draw(model);
    mark(document.body, "reading", false);
    if (isOther) market.again();
    mustSort ||= isOther;
    // The open one may be gone.
    for (const symbol of [...model.markets.keys(), openSymbol()]) changed.add(symbol);
    mustArrange = true;
  } else if (name === "markets") {
    for (const symbol of model.advance(data)) changed.add(symbol);
    mustArrange ||= data.gone.length > 0
      || data.markets.some(({ symbol }) => !table.rows.has(symbol));
  } else {
    const { now_ms, ...group } = data;
    model.tick({ now_ms });
    model.group = group;
  }
  frame ||= requestAnimationFrame(draw);
}

function draw() {
  frame = 0;
  const isIdle = !table.hasFocus && !order.isRead;
  const isDue = isIdle && performance.now() - arranged_ms > ARRANGE_MS;
  const isFirst = mustArrange && table.rows.size === 0;
  if (mustArrange || (isDue && changed.size)) arrange(isFirst || isIdle || mustSort);
  else if (changed.size) drawShown();
  mustArrange = mustSort = false;
  table.draw(changed);
  if (changed.has(openSymbol())) market.draw();
  market.readIf(changed);
  changed.clear();
  facts.draw(model);
  remarks.draw(model);
  tick();
}

function tick() {
  facts.tick(model, connection.isUp);
  warnings.draw(model, connection);
  if (model.settings === null) return;
  table.drawAges();
  market.tick();
}

function connected(isUp) {
  if (connection.isUp && !isUp) connection.lost_ms = model.now_ms;
  connection.isUp = isUp;
  mark(document.body, "away", !isUp);
  tick();
}

// The address may say another interval than before. What is shown is not of that one: it is hidden
// until its states are there.
function followAddress() {
  if (connectAgain()) mark(document.body, "reading", true);
}

function drawRegimes(names) {
  find("#regimes").append(...["", ...names].map(value => radio("regime", value, () => {
    order.regime = value;
    choose(true);
  }, ...(value ? [element("i", { className: `of ${value}` })] : []), value || "all", " ",
  element("b"))));
  find("#regimes input").checked = true;
}

filter.addEventListener("input", () => {
  order.text = filter.value.trim();
  choose(false);
});
resort.addEventListener("click", () => choose(true));
find(".skip").addEventListener("click", event => {
  event.preventDefault();
  table.focus(null);
});
// Escape takes away one thing at a time.
addEventListener("keydown", event => {
  if (event.key !== "Escape" || dismissTip()) return;
  if (document.activeElement === filter && filter.value) {
    filter.value = order.text = "";
    choose(false);
  } else if (openSymbol() !== null) closeMarket();
});
addEventListener("hashchange", () => market.follow(openSymbol(), true));
addEventListener("popstate", followAddress);
addEventListener("theme", () => market.redraw());

dismissibleTips();
setInterval(tick, 1e3);
market.follow(openSymbol(), false);
const connectAgain = listen(hear, connected);
