// What was said and how it is translated, as rows: a sentence each. No DOM here.

const SENTENCE_END = /[.!?…。！？]["'”’»)]*$/u;
const NEW_TURN_S = 0.8;  // a pause after which a new turn begins
const EPSILON_S = 0.02;

/**
 * A finished sentence. `translation` is null where there is none: captions only, or it failed.
 * @typedef {{start_s: number, end_s: number, text: string, language: string, words: object[],
 *            translation: string|null, target: string|null, turn: boolean}} Row
 */

export class Captions {
  /**
   * @param {(language: string) => string|null} target  language that what is said in `language` is translated into
   * @param {Set<string>} unspaced  languages that write no spaces between words
   */
  constructor(target, unspaced) {
    Object.assign(this, { target, unspaced });
    /** @type {Row[]} */
    this.rows = [];
    this.open = [];       // committed words that are in no row yet, each with its language
    this.tail = "";       // what is being said and may change
    this.draft = "";      // its translation, which may change
    this.language = "";
  }

  /** Take in an event of the session. @returns {Row[]} the rows that it finished */
  take(event) {
    const before = this.rows.length;
    switch (event.type) {
      case "partial":
        this.tail = event.text;
        this.language = event.language || this.language;
        if (!event.text && !this.open.length) this.draft = "";
        break;
      case "committed": this.#committed(event); break;
      case "translated":
        if (event.final) this.#translated(event);
        else this.draft = event.text;
        break;
      case "ended":
        this.tail = this.draft = "";
        this.#close(this.open.length);
        break;
    }
    return this.rows.slice(before);
  }

  /** What was committed and is in no row yet. */
  get openText() {
    return this.join(this.open, this.language);
  }

  join(words, language) {
    return words.map(({ text }) => text).join(this.unspaced.has(language) ? "" : " ");
  }

  #committed({ words, language }) {
    this.tail = "";
    this.language = language;
    for (const word of words) {
      const last = this.open.at(-1);
      if (last && this.target(last.language) === null) {
        const paused = word.start_s - last.end_s > NEW_TURN_S;
        if (paused || SENTENCE_END.test(last.text) || last.language !== language) this.#close(this.open.length);
      }
      this.open.push({ ...word, language });
    }
  }

  #translated({ start_s, end_s, source_text, text, language }) {
    this.draft = "";
    // Words before this sentence belong to one whose translation failed.
    this.#close(this.open.findIndex((word) => word.start_s >= start_s - EPSILON_S));
    const after = this.open.findIndex((word) => word.start_s >= end_s - EPSILON_S);
    const words = this.open.splice(0, after < 0 ? this.open.length : after);
    const spoken = words[0]?.language ?? this.language;
    this.#add({ start_s, end_s, text: source_text, language: spoken, words, translation: text, target: language });
  }

  /** Make a row without translation of the first `count` open words. */
  #close(count) {
    if (count <= 0) return;
    const words = this.open.splice(0, count);
    const { language, start_s } = words[0];
    const text = this.join(words, language);
    this.#add({ start_s, end_s: words.at(-1).end_s, text, language, words, translation: null, target: null });
  }

  #add(row) {
    const last = this.rows.at(-1);
    const turn = !last || row.start_s - last.end_s > NEW_TURN_S || row.language !== last.language;
    const words = row.words.map(({ text, start_s, end_s, probability }) => ({ text, start_s, end_s, probability }));
    this.rows.push({ ...row, words, turn });
  }
}
