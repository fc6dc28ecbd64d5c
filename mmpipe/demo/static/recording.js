/**
 * A translated recording: its player, its waveform with the words under it, both texts side by side, its files.
 *
 * @typedef {{start: number, end: number, said: string, language: string, translation: string,
 *            words: [string, number, number][]}} Row   times in seconds
 * @typedef {{media: string, video: boolean, listen: string, dubbed: ?string, ready: boolean, duration: number, peaks_per_s: number,
 *            peaks: string, source: ?{code: string, name: string}, target: {code: string, name: string}, rows: Row[],
 *            downloads: {kind: string, files: {label: string, path: string, name: string}[]}[]}} Recording
 */

import { fileUrl, node } from "./dropzone.js";
import { Waveform } from "./waveform.js";

/** @param {HTMLElement} element @param {URL} root @param {{props: {value: ?Recording}, watch: Function}} given */
export function mount(element, root, { props, watch }) {
  let shown = null;
  const update = () => {
    /** @type {?Recording} */
    const recording = props.value && props.value.listen ? props.value : null;
    if (shown && shown.key !== recording?.listen) {
      shown.end();
      shown = null;
    }
    if (recording) {
      shown ??= new Result(element, root, recording);
      shown.update(recording);
    }
  };
  watch("value", update);
  update();
}

class Result {
  /** @param {HTMLElement} element @param {URL} root @param {Recording} recording */
  constructor(element, root, recording) {
    this.key = recording.listen;
    this.root = root;
    this.rows = [];
    this.section = node("section", { class: "rec-result", "aria-label": "The recording and its translation" });
    this.stage = node("div", { class: "rec-media" });
    this.voices = node("div", { class: "rec-voices", role: "group", "aria-label": "Which voice to play" });
    this.table = node("div", { class: "rec-table", role: "table", "aria-label": "What is said, and its translation" });
    this.files = node("div", { class: "rec-downloads" });
    this.waveform = new Waveform((time) => this.seek(time));
    this.section.append(this.stage, this.voices, this.waveform.element, this.table, this.files);
    element.append(this.section);
    this.section.addEventListener("click", (event) => {
      const at = event.target.closest("[data-start]");
      if (at) this.seek(Number(at.dataset.start));
    });
  }

  end() {
    this.waveform.end();
    this.section.remove();
  }

  /** @param {Recording} recording */
  update(recording) {
    this.recording = recording;
    if (recording.ready && !this.player) this.play(recording.video ? "video" : "audio", recording.media);
    this.waveform.show(recording);
    this.showVoices();
    this.showRows();
    this.showFiles();
  }

  /** A player of ``path``; of the sound alone where the browser cannot show the picture. */
  play(kind, path) {
    const player = node(kind, { controls: "", preload: "metadata", src: fileUrl(path, this.root) });
    player.setAttribute("aria-label", kind === "video" ? "The video" : "The recording");
    if (kind === "video") {
      player.setAttribute("playsinline", "");
      player.addEventListener("error", () => {
        this.play("audio", this.recording.listen);
        this.stage.append(node("p", { class: "mm-hint" }, "This browser cannot show the picture: here is the sound."));
      });
    }
    this.player = player;
    this.stage.replaceChildren(player);
    this.waveform.follow(player);
    player.addEventListener("timeupdate", () => this.mark());
    player.addEventListener("seeked", () => this.mark());
  }

  /** The original, or the translation spoken in its place: both last as long, so one can change between them. */
  showVoices() {
    const { dubbed, media, source, target } = this.recording;
    if (!dubbed || this.voices.firstChild) return;
    const choices = [[source?.name ?? "Original", media], [target.name, dubbed]];
    for (const [name, path] of choices) {
      const button = node("button", { type: "button", "aria-pressed": String(path === media) }, name);
      button.addEventListener("click", () => {
        for (const other of this.voices.children) other.setAttribute("aria-pressed", String(other === button));
        const { currentTime, paused } = this.player;
        this.player.src = fileUrl(path, this.root);
        this.player.currentTime = currentTime;
        if (!paused) this.player.play();
      });
      this.voices.append(button);
    }
  }

  seek(time) {
    if (!this.player) return;
    this.player.currentTime = time;
    this.player.play().catch(() => {}); // a browser may want to be asked first: the place is found all the same
  }

  /** Mark the sentence that is being said. */
  mark() {
    const time = this.player.currentTime;
    const current = this.recording.rows.findLastIndex((row) => time >= row.start - 0.05);
    this.rows.forEach((row, number) => {
      const now = number === current && time < this.recording.rows[number].end + 0.5;
      if (now === row.hasAttribute("aria-current")) return;
      row.toggleAttribute("aria-current", now);
      if (now) row.setAttribute("aria-current", "true");
      if (now && !this.player.paused) scrollWithin(this.table, row);
    });
  }

  showRows() {
    const { rows, source, target } = this.recording;
    if (rows.length && !this.table.firstChild) {
      const head = node("div", { class: "rec-row rec-head", role: "row" });
      for (const text of ["Time", source?.name ?? "Said", target.name]) {
        head.append(node("span", { role: "columnheader" }, text));
      }
      this.table.append(head);
    }
    for (const row of rows.slice(this.rows.length)) {
      const time = node("span", { role: "cell" });
      time.append(
        node("button", { class: "rec-time", "data-start": row.start, "aria-label": `Play from ${clock(row.start)}` }, clock(row.start)),
      );
      const line = node("div", { class: "rec-row", role: "row" });
      const said = node("span", { class: "rec-said", role: "cell", lang: row.language });
      said.append(...wordsOf(row));
      line.append(time, said, node("span", { class: "rec-translation", role: "cell", lang: target.code }, row.translation));
      this.table.append(line);
      this.rows.push(line);
    }
  }

  showFiles() {
    const { downloads } = this.recording;
    const count = downloads.reduce((sum, { files }) => sum + files.length, 0);
    if (count === this.files.querySelectorAll("a").length) return;
    this.files.replaceChildren(node("h2", {}, "Downloads"));
    for (const { kind, files } of downloads) {
      const group = node("p", { class: "rec-kind" });
      group.append(node("span", {}, kind));
      for (const { label, path, name } of files) {
        group.append(node("a", { href: fileUrl(path, this.root), download: name, "aria-label": `${kind}: ${label}` }, label));
      }
      this.files.append(group);
    }
  }
}

/** The words of a row, each to be clicked, and what stands between them. @param {Row} row */
function wordsOf(row) {
  const parts = [];
  let at = 0;
  for (const [word, start] of row.words) {
    const found = row.said.indexOf(word, at);
    if (found < 0) continue;
    parts.push(row.said.slice(at, found), node("span", { class: "rec-word", "data-start": start }, word));
    at = found + word.length;
  }
  parts.push(row.said.slice(at));
  return parts;
}

/** Bring ``row`` into view by moving ``box`` alone, not the page. */
function scrollWithin(box, row) {
  const above = row.offsetTop - box.offsetTop;
  if (above < box.scrollTop || above + row.offsetHeight > box.scrollTop + box.clientHeight) {
    box.scrollTop = above - box.clientHeight / 3;
  }
}

function clock(seconds) {
  const whole = Math.floor(seconds);
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}
