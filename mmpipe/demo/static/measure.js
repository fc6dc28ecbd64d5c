// The tab that measures: a waterfall of the visitor's last session, and what the server's engines do.

import { last } from "./session.js";

const EVERY_MS = 2000;
const SENTENCES = 8;
const STEPS = [
  ["recognized", "Recognized"],
  ["committed", "Committed"],
  ["translated", "Translated"],
  ["spoken", "Voice begins"],
];
const STATES = { ready: "ready", loading: "being loaded", waiting: "waiting", failed: "not available" };

/** @param {HTMLElement} element @param {URL} root */
export function mount(element, root) {
  const part = (name) => element.querySelector(`[data-part=${name}]`);

  async function look() {
    if (element.isConnected && element.offsetParent !== null) {
      part("waterfall").replaceChildren(...waterfall(last.timeline));
      try {
        const figures = await (await fetch(new URL("demo/figures", root))).json();
        part("engines").replaceChildren(...engines(figures));
        part("machine").textContent = machine(figures);
        part("models").replaceChildren(models(figures));
      } catch {
        part("machine").textContent = "The server does not answer.";
      }
    }
    setTimeout(look, EVERY_MS);
  }

  look();
}

// --- the last session ---

function waterfall(timeline) {
  const sentences = timeline?.sentences.slice(-SENTENCES) ?? [];
  if (!sentences.length) {
    return [element("p", { className: "mm-nothing", textContent: "Nothing yet. Speak a few sentences in the tab Live, then come back." })];
  }
  const tiles = element("div", { className: "mm-tiles" });
  const first = median(timeline.firstCaptions);
  if (first !== null) tiles.append(tile("First caption", first, "after you begin to speak"));
  for (const [step, name] of STEPS) {
    const found = median(timeline.sentences.map((sentence) => sentence[step]));
    if (found !== null) tiles.append(tile(name, found, "after your last word"));
  }
  const most = Math.max(1, ...sentences.flatMap((sentence) => STEPS.map(([step]) => sentence[step] ?? 0)));
  const table = element("table", { className: "mm-waterfall" });
  const head = table.createTHead().insertRow();
  for (const title of ["Sentence", ...STEPS.map(([, name]) => name), "Waterfall"]) head.append(element("th", { textContent: title, scope: "col" }));
  const body = table.createTBody();
  for (const sentence of sentences) {
    const row = body.insertRow();
    row.append(element("th", { textContent: sentence.text, scope: "row" }));
    for (const [step] of STEPS) row.insertCell().textContent = seconds(sentence[step]);
    row.insertCell().append(bar(sentence, most));
  }
  const key = element("p", { className: "mm-key" });
  for (const [step, name] of STEPS) key.append(element("span", { textContent: name, className: `mm-${step}` }));
  return [tiles, key, scrolled(table, "Delays of the last sentences")];
}

/** The steps of a sentence, one after the other, as parts of a bar. */
function bar(sentence, most) {
  const found = element("div", { className: "mm-bar", ariaHidden: "true" });
  let at = 0;
  for (const [step] of STEPS) {
    if (sentence[step] === null) continue;
    const piece = element("i", { className: `mm-${step}` });
    piece.style.inlineSize = `${(100 * Math.max(0, sentence[step] - at)) / most}%`;
    at = Math.max(at, sentence[step]);
    found.append(piece);
  }
  return found;
}

function tile(name, value, note) {
  const found = element("div", { className: "mm-tile" });
  found.append(element("span", { textContent: name }), element("strong", { textContent: seconds(value) }), element("small", { textContent: note }));
  return found;
}

// --- engines ---

function engines({ engines, every_s }) {
  if (!engines.length) return [element("p", { className: "mm-nothing", textContent: "The models are still being loaded." })];
  return engines.map((engine) => {
    const found = element("div", { className: "mm-engine" });
    const { history } = engine;
    found.append(
      element("h3", { textContent: engine.name }),
      element("p", { textContent: `${engine.done} done in ${engine.batches} batches, ${engine.mean_batch_items.toFixed(1)} in each; an item waits ${milliseconds(engine.mean_wait_s)}, a batch takes ${milliseconds(engine.mean_run_s)}.` }),
      plot("Items a second", history.map(({ items_per_s }) => items_per_s), every_s),
      plot("Items in a batch", history.map(({ batch_items }) => batch_items), every_s),
    );
    return found;
  });
}

const [WIDTH, HEIGHT, KEPT] = [300, 56, 150];

/** Bars from left (old) to right (now). */
function plot(title, values, everyS) {
  const most = Math.max(1, ...values);
  const step = WIDTH / KEPT;
  const bars = values.map((value, n) => {
    const height = (HEIGHT * value) / most;
    const x = WIDTH - (values.length - n) * step;
    return value ? `M${x.toFixed(1)} ${HEIGHT}v${(-height).toFixed(1)}h${step.toFixed(1)}v${height.toFixed(1)}z` : "";
  });
  const figure = element("figure", { className: "mm-plot" });
  const now = values.at(-1) ?? 0;
  figure.innerHTML = `<figcaption><span>${title}</span><span>now ${short(now)}, most ${short(Math.max(0, ...values))}</span></figcaption>
    <svg viewBox="0 0 ${WIDTH} ${HEIGHT}" preserveAspectRatio="none" role="img" aria-label="${title} over ${Math.round((KEPT * everyS) / 60)} minutes: now ${short(now)}"><path d="${bars.join("")}" /></svg>`;
  return figure;
}

// --- what is loaded ---

function machine({ machine, sessions }) {
  const gb = (bytes) => `${(bytes / 1e9).toFixed(1)} GB`;
  return `${machine.device}, ${machine.cores} cores; the server holds ${gb(machine.resident_bytes)} of ${gb(machine.memory_bytes)}, ${gb(machine.free_bytes)} are free; ${sessions} live session${sessions === 1 ? "" : "s"} now.`;
}

function models({ models }) {
  const table = element("table");
  const head = table.createTHead().insertRow();
  for (const title of ["Model", "State", "Loaded in", "Memory"]) head.append(element("th", { textContent: title, scope: "col" }));
  const body = table.createTBody();
  for (const { name, state, why, seconds: took, memory_bytes } of models) {
    const row = body.insertRow();
    row.append(element("th", { textContent: name, scope: "row" }));
    row.insertCell().textContent = why ? `${STATES[state]}: ${why}` : STATES[state];
    row.insertCell().textContent = state === "ready" ? seconds(took) : "–";
    row.insertCell().textContent = state === "ready" ? `${Math.round(memory_bytes / 1e6)} MB` : "–";
  }
  return scrolled(table, "Models");
}

// --- small things ---

function element(name, properties = {}) {
  return Object.assign(document.createElement(name), properties);
}

function scrolled(table, label) {
  const found = element("div", { className: "mm-table", tabIndex: 0, role: "region", ariaLabel: label });
  found.append(table);
  return found;
}

function seconds(value) {
  return value === null ? "–" : `${value.toFixed(value < 10 ? 2 : 1)} s`;
}

function milliseconds(value) {
  return `${Math.round(1000 * value)} ms`;
}

function short(value) {
  return value.toFixed(value < 10 ? 1 : 0);
}

function median(values) {
  const sorted = values.filter((value) => value !== null).sort((a, b) => a - b);
  return sorted.length ? sorted[Math.floor(sorted.length / 2)] : null;
}
