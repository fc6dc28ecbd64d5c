// Captions on the page.

const NEAR_PX = 60;  // this close to the end, the page follows what is said

export class CaptionView {
  /** @param {(name: string) => HTMLElement} part  finds an element by its `data-part` */
  constructor(part) {
    this.part = part;
    this.follows = true;
    const scroll = part("scroll");
    scroll.addEventListener("scroll", () => {
      this.follows = scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight < NEAR_PX;
    });
    new ResizeObserver(() => this.#following(() => {})).observe(scroll);
  }

  clear() {
    this.part("rows").replaceChildren();
    this.now({ openText: "", tail: "", draft: "", language: "" });
    this.part("empty").hidden = false;
  }

  /** @param {import("./captions.js").Row[]} rows */
  add(rows, { marked, name }) {
    this.#following(() => {
      for (const row of rows) this.part("rows").append(element(row, marked ? name : null));
    });
  }

  /** What is being said. */
  now({ openText, tail, draft, language }) {
    this.#following(() => {
      this.part("open").textContent = openText;
      this.part("tail").textContent = tail;
      this.part("draft").textContent = draft;
      this.part("open").lang = this.part("tail").lang = language;
      this.part("now").hidden = !(openText || tail);
      if (openText || tail || this.part("rows").childElementCount) this.part("empty").hidden = true;
    });
  }

  #following(change) {
    const { follows } = this;
    change();
    if (follows) this.part("scroll").scrollTop = this.part("scroll").scrollHeight;
    this.follows = follows;
  }
}

function element(row, name) {
  const found = document.createElement("div");
  found.className = row.turn ? "mm-row mm-turn" : "mm-row";
  const time = Object.assign(document.createElement("time"), { textContent: clock(row.start_s) });
  found.append(time, paragraph("mm-source", row.text, row.language, name));
  found.append(paragraph("mm-target", row.translation ?? "", row.target ?? "", name));
  return found;
}

function paragraph(className, text, language, name) {
  const found = Object.assign(document.createElement("p"), { className, lang: language, textContent: text });
  if (name && text) found.dataset.language = name(language);
  return found;
}

/** "1:05" */
export function clock(seconds) {
  const whole = Math.floor(seconds);
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}
