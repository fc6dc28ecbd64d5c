// When each sentence was captured, recognized, committed, translated and spoken, by the clock of this browser: what the
// visitor really waits for, network included.

const NEAR_S = 0.15;   // a caption that ends this close to the end of a sentence shows its last word
const JUMP_S = 0.05;   // between the clock of the sound and the browser's, worth noting

/**
 * Delays in seconds after the end of the sentence was captured; null: it did not happen.
 * @typedef {{text: string, start_s: number, end_s: number, recognized: number|null, committed: number|null,
 *            translated: number|null, spoken: number|null}} Sentence
 */

export class Timeline {
  /** @param {() => number} now  seconds */
  constructor(now = () => performance.now() / 1000) {
    this.now = now;
    this.offsets = [];         // {from_s, offset_s}: sound from there on was captured at its own time plus offset
    this.shown = [];           // {end_s, at, committed}
    /** @type {Sentence[]} */
    this.sentences = [];
    this.firstCaptions = [];   // seconds from the beginning of an utterance to its first caption
    this.behind = null;        // of the last commit
    this.silent = true;        // no caption of this utterance yet
  }

  /** Sound from `from_s` to `to_s` was captured just now. */
  captured(from_s, to_s) {
    const offset_s = this.now() - to_s;
    const last = this.offsets.at(-1);
    if (!last || Math.abs(last.offset_s - offset_s) > JUMP_S) this.offsets.push({ from_s, offset_s });
  }

  /** When the sound at `s` was captured. */
  capturedAt(s) {
    const found = this.offsets.findLast(({ from_s }) => from_s <= s) ?? this.offsets[0];
    return s + (found?.offset_s ?? 0);
  }

  /** Take in an event, and the rows that it finished. */
  take(event, rows) {
    const at = this.now();
    if ((event.type === "partial" || event.type === "committed") && event.text) {
      if (this.silent) this.firstCaptions.push(at - this.capturedAt(event.start_s));
      this.silent = false;
      this.shown.push({ end_s: event.end_s, at, committed: event.type === "committed" });
    } else if (event.type === "partial") {
      this.silent = true;
    }
    if (event.type === "committed") this.behind = at - this.capturedAt(event.end_s);
    for (const row of rows) this.sentences.push(this.#sentence(row, at));
    if (rows.length) this.shown = this.shown.filter(({ end_s }) => end_s > rows.at(-1).end_s + NEAR_S);
  }

  /** The voice will be heard in `in_s` seconds. */
  spoken(event, in_s) {
    const sentence = this.sentences.findLast(({ end_s }) => Math.abs(end_s - event.end_s) < NEAR_S);
    if (sentence && sentence.spoken === null) sentence.spoken = this.now() + in_s - this.capturedAt(sentence.end_s);
  }

  #sentence({ text, start_s, end_s, translation }, at) {
    const ended = this.capturedAt(end_s);
    const reached = this.shown.filter((shown) => shown.end_s >= end_s - NEAR_S);
    const delay = (shown) => (shown ? Math.max(0, shown.at - ended) : null);
    return {
      text, start_s, end_s,
      recognized: delay(reached[0]),
      committed: delay(reached.find(({ committed }) => committed)),
      translated: translation === null ? null : Math.max(0, at - ended),
      spoken: null,
    };
  }
}
