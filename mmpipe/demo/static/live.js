// The tab for live translation: from the visitor's microphone to captions and voice.

import { Captions } from "./captions.js";
import { LiveConnection } from "./connection.js";
import { fillSources, fillTargets, Languages } from "./languages.js";
import { Microphone, MicrophoneError } from "./microphone.js";
import { VoicePlayer } from "./player.js";
import { last } from "./session.js";
import { Timeline } from "./timeline.js";
import { CaptionView, clock } from "./view.js";
import { save, wav } from "./wav.js";

const SILENCE_S = 1.5;  // sent at a pause, so that what was said before is finished
const MOST_LAG_S = 6;   // that the meter shows

/** @param {HTMLElement} element @param {URL} root  of the application */
export async function mount(element, root) {
  const tab = new LiveTab(element.querySelector(".mm-live"), root);
  await tab.prepare();
}

class LiveTab {
  constructor(section, root) {
    Object.assign(this, { section, root });
    const parts = Object.fromEntries([...section.querySelectorAll("[data-part]")].map((e) => [e.dataset.part, e]));
    this.part = (name) => parts[name];
    this.view = new CaptionView(this.part);
    this.kept = [];       // what the visitor's microphone gave
    this.connection = this.microphone = this.player = null;
    this.resetRecord();
  }

  async prepare() {
    this.say("Getting to know the languages …");
    try {
      const answer = await fetch(new URL("demo/languages", this.root));
      if (!answer.ok) throw new Error((await answer.json()).detail);
      this.languages = new Languages(await answer.json());
    } catch (error) {
      this.say(`The languages could not be had: ${error.message}. Load the page again.`, true);
      return;
    }
    this.source = this.between = null;
    const on = (name, event, handler) => this.part(name).addEventListener(event, handler);
    on("from", "change", () => this.choose());
    on("to", "change", () => this.choose());
    on("two-way", "change", () => this.choose());
    on("voice", "change", () => this.voiceSwitched());
    on("start", "click", () => this.begin());
    on("pause", "click", () => this.pause());
    on("stop", "click", () => this.stop());
    on("clear", "click", () => this.clear());
    for (const button of this.section.querySelectorAll("[data-kind]")) {
      button.addEventListener("click", () => this.download(button.dataset.kind));
    }
    for (const button of this.section.querySelectorAll("[data-sound]")) {
      button.addEventListener("click", () => this.downloadSound(button.dataset.sound));
    }
    addEventListener("pagehide", () => this.connection?.leave());
    this.choose({ from: "en", to: "pt" });
    this.part("start").disabled = false;
    this.enter("idle", "Ready when you are.");
  }

  // --- what is chosen ---

  /** Bring the pickers into line with one another. */
  choose({ from = this.part("from").value, to = this.part("to").value } = {}) {
    const { languages, part } = this;
    const twoWay = part("two-way").checked;
    fillSources(part("from"), languages, { detect: !twoWay, chosen: from || (twoWay ? "en" : "") });
    fillTargets(part("to"), languages, part("from").value, { captionsOnly: !twoWay, chosen: to });
    part("from-label").textContent = twoWay ? "One speaks" : "I speak";
    part("to-label").textContent = twoWay ? "The other speaks" : "Translate into";
    part("arrow").textContent = twoWay ? "⇄" : "→";
    part("head-source").textContent = !twoWay && part("from").value ? languages.name(part("from").value) : "Said";
    part("head-target").textContent = !twoWay && part("to").value ? languages.name(part("to").value) : "Translated";
    part("voice").disabled = !this.speakable;
    if (part("voice").disabled) part("voice").checked = false;
    part("voice-note").textContent = this.voiceNote(false);
    this.voiceSwitched();
    this.showTier();
  }

  get options() {
    const [from, to] = [this.part("from").value, this.part("to").value];
    const twoWay = this.part("two-way").checked;
    const voice = this.part("voice").checked;
    const options = { speak: voice, headphones: voice && this.part("headphones").checked };
    if (twoWay) return { ...options, between: [from, to] };
    return { ...options, ...(from && { source: from }), ...(to && { to }) };
  }

  /** The language that what is said in `language` is translated into. */
  target(language) {
    const { between, to } = this.chosen;
    if (between) return language === between[0] ? between[1] : between[0];
    return to && to !== language ? to : null;
  }

  showTier(detected = null) {
    const [from, to] = [this.part("from").value || detected, this.part("to").value];
    const { languages } = this;
    const describe = (source, target) => {
      const route = languages.route(source, target);
      const where = `${languages.name(source)} to ${languages.name(target)}`;
      if (!route) return `${where}: cannot be translated here`;
      return `${where}: ${route.tier} – ${languages.tiers[route.tier]} (${route.via.join(", then ")})`;
    };
    let text = "";
    if (this.part("two-way").checked && from && to) text = `${describe(from, to)}\n${describe(to, from)}`;
    else if (from && to && from !== to) text = describe(from, to);
    else if (to && !from) text = "How good the translation is depends on the language that is found.";
    const route = from && to && languages.route(from, to);
    this.part("tier").textContent = text;
    this.part("tier").dataset.tier = route ? route.tier : "";
  }

  voiceSwitched() {
    this.part("headphones-field").hidden = !this.part("voice").checked;
    if (this.player) this.player.muted = !this.part("voice").checked;
  }

  // --- start, pause, stop ---

  async begin() {
    if (this.section.dataset.state === "running") return;
    this.chosen = this.options;
    this.resetRecord();
    this.enter("opening", "Asking the browser for the microphone …");
    if (this.chosen.speak) {
      this.player = new VoicePlayer((playing) => this.connection?.playing(playing));
    }
    try {
      this.microphone = await Microphone.open({ cancelEcho: this.chosen.speak && !this.chosen.headphones });
      this.rateHz = await this.microphone.begin(
        (samples, peak) => this.heard(samples, peak),
        () => this.stop("The microphone was taken away."),
      );
    } catch (error) {
      if (!(error instanceof MicrophoneError)) console.error(error);
      this.release();
      this.enter("idle", error instanceof MicrophoneError ? error.message : "The microphone cannot be used.", true);
      return;
    }
    this.enter("opening", "Connecting …");
    const url = new URL("v1/live", this.root);
    url.protocol = url.protocol.replace("http", "ws");
    this.connection = new LiveConnection(url, { ...this.chosen, rate_hz: this.rateHz }, {
      opened: ({ resumed }) => this.opened(resumed),
      event: (event) => this.received(event),
      waiting: (waiting) => this.waiting(waiting),
      closed: (closing) => this.closed(closing),
    });
  }

  pause() {
    if (this.section.dataset.state === "paused") {
      this.microphone.muted = false;
      this.enter("running", "Listening. Speak.");
      return;
    }
    this.enter("paused", "Paused: nothing is heard. Press Go on when you are ready.");
    this.microphone.muted = true;
    this.record(new Int16Array(Math.round(SILENCE_S * this.rateHz)));
  }

  stop(why = "") {
    if (!this.connection || this.section.dataset.state === "finishing") return;
    this.microphone?.close();
    this.microphone = null;
    this.connection.finish();
    if (this.lost || !this.connection.session) this.connection.leave();
    else this.enter("finishing", `${why} Finishing what was said …`.trim());
  }

  clear() {
    this.resetRecord();
    this.enter("idle", "Ready when you are.");
  }

  resetRecord() {
    this.kept = [];
    this.lost = false;
    this.player?.close();
    this.player = null;
    this.chosen ??= {};
    this.captions = new Captions((language) => this.target(language), this.languages?.unspaced ?? new Set());
    this.timeline = last.timeline = new Timeline();
    this.view.clear();
    this.showLag(null);
  }

  // --- the microphone ---

  heard(samples, peak) {
    const level = this.section.dataset.state === "paused" ? 0 : Math.round(100 * Math.sqrt(peak));
    fill(this.part("level"), level, 100);
    if (this.section.dataset.state === "running") this.record(samples);
  }

  record(samples) {
    const from_s = this.connection.sentS;
    this.connection.send(samples);
    this.kept.push(samples);
    this.timeline.captured(from_s, this.connection.sentS);
    this.part("clock").textContent = clock(this.connection.sentS);
  }

  // --- the connection ---

  opened(resumed) {
    this.lost = false;
    const state = this.section.dataset.state;
    if (state === "finishing") return;
    if (state === "paused") this.say("The connection is back. The session is paused.");
    else this.enter("running", resumed ? "The connection is back, nothing was lost. Go on speaking." : "Listening. Speak.");
  }

  waiting({ why, text, inS }) {
    this.lost = true;
    const when = inS < 1 ? "Trying again …" : `Trying again in ${Math.round(inS)} s.`;
    if (why === "busy") this.say(`${text || "The server is busy."} ${when} It begins by itself.`);
    else if (this.connection?.session) this.say(`The server cannot be reached. ${when} What you say meanwhile is kept.`, true);
    else this.say(`The server cannot be reached. ${when}`, true);
    if (why === "lost") this.askWhetherLoggedOut();
  }

  async askWhetherLoggedOut() {
    const answer = await fetch(new URL("demo/status", this.root)).catch(() => null);
    if (answer?.status === 401) this.say("You are not logged in any more. Load the page again.", true);
  }

  closed({ why, text }) {
    this.connection = null;
    this.release();
    this.captions.take({ type: "ended" });
    const said = {
      ended: text === "finished" ? "Finished." : `The server ended the session: ${text}.`,
      left: "Stopped.",
      forgotten: "The server was started anew, or you were away for too long: it does not know this session any more. What is on the page can be downloaded below; Start anew begins on an empty page.",
      refused: text || "The server refused the session.",
    }[why];
    this.enter("ended", said, why !== "ended" && why !== "left");
    this.show([]);
  }

  release() {
    this.microphone?.close();
    this.microphone = null;
  }

  // --- events ---

  received(event) {
    switch (event.type) {
      case "spoken":
        this.timeline.spoken(event, this.player?.add(event.sound, event.rate_hz) ?? 0);
        return;
      case "interrupted": this.player?.interrupt(); return;
      case "language":
        this.showTier(event.language);
        this.say(`You speak ${this.languages.name(event.language)}.`);
        return;
      case "warning": this.say(event.text, true); return;
      case "stats": return;
    }
    const rows = this.captions.take(event);
    this.timeline.take(event, rows);
    this.show(rows);
    if (event.type === "committed") this.showLag(this.timeline.behind);
  }

  show(rows) {
    this.view.add(rows, { marked: Boolean(this.chosen.between), name: (code) => this.languages.name(code) });
    this.view.now(this.captions);
  }

  showLag(seconds) {
    fill(this.part("lag"), Math.min(seconds ?? 0, MOST_LAG_S), MOST_LAG_S);
    this.part("lag").dataset.rank = seconds > 4 ? "late" : seconds > 2.5 ? "slow" : "good";
    this.part("lag-text").textContent = seconds === null ? "–" : `${seconds.toFixed(1)} s`;
  }

  // --- downloads ---

  async download(kind) {
    const body = JSON.stringify({ kind, text: this.part("text").value, rows: this.captions.rows });
    const headers = { "Content-Type": "application/json" };
    try {
      const answer = await fetch(new URL("demo/subtitles", this.root), { method: "POST", headers, body });
      if (!answer.ok) throw new Error((await answer.json()).detail);
      save(await answer.blob(), `mmpipe.${kind}`);
    } catch (error) {
      this.say(`The file could not be made: ${error.message}. What is on the page is kept; try again.`, true);
    }
  }

  downloadSound(which) {
    if (which === "said") {
      save(wav(this.kept, this.rateHz), "mmpipe-said.wav");
      return;
    }
    const { samples, rateHz } = this.player.recording();
    save(wav([samples], rateHz), "mmpipe-spoken.wav");
  }

  // --- the page ---

  /** Go over to a state of the page: idle, opening, running, paused, finishing, ended. */
  enter(state, text, alarming = false) {
    const { part } = this;
    this.section.dataset.state = state;
    const live = ["opening", "running", "paused"].includes(state);
    part("start").hidden = live || state === "finishing";
    part("pause").hidden = !["running", "paused"].includes(state);
    part("stop").hidden = !live;
    part("pause").textContent = state === "paused" ? "Go on" : "Pause";
    part("meters").hidden = !live;
    for (const name of ["from", "to", "two-way", "headphones"]) part(name).disabled = live || state === "finishing";
    part("voice").disabled = live ? !this.chosen.speak : !this.speakable;
    part("voice-note").textContent = this.voiceNote(live);
    const something = this.captions.rows.length > 0 || this.kept.length > 0;
    part("downloads").hidden = !(state === "ended" && something);
    part("start").textContent = state === "ended" && something ? "Start anew" : "Start";
    for (const button of this.section.querySelectorAll("[data-kind]")) button.disabled = !this.captions.rows.length;
    this.section.querySelector("[data-sound=spoken]").hidden = !this.player?.pieces.length;
    this.say(text, alarming);
  }

  voiceNote(live) {
    if (live && !this.chosen.speak) return "Can be switched on at the next start";
    return this.speakable ? "Hear it, sentence by sentence" : "There is no voice for this language";
  }

  /** Whether there is a voice for what is chosen. */
  get speakable() {
    const two = this.part("two-way").checked ? [this.part("from").value] : [];
    return [...two, this.part("to").value].every((code) => this.languages.voices.includes(code));
  }

  say(text, alarming = false) {
    this.part("status").textContent = text;
    this.part("status").classList.toggle("mm-alarm", alarming);
  }
}

function fill(meter, value, most) {
  meter.setAttribute("aria-valuenow", value.toFixed(1));
  meter.querySelector("b").style.inlineSize = `${(100 * value) / most}%`;
}
