/**
 * The sound of a recording as bars: all of it in a narrow strip, and below it the part that is being played, large, with
 * its words under it, each at its time. Both can be clicked. For the eye alone: the same text stands beside it.
 */

const PX_PER_S = 130;
const STRIP_PX = 44;
const DETAIL_PX = 84;
const LANE_PX = 24; // words that would overlap stand one below the other
const LANES = 2;
const BAR_PX = 3;

export class Waveform {
  /** @param {(time: number) => void} seek told where in the recording was clicked, in seconds */
  constructor(seek) {
    this.element = document.createElement("div");
    this.element.className = "rec-waveform";
    this.element.setAttribute("aria-hidden", "true");
    this.strip = this.canvas("rec-strip", STRIP_PX);
    this.detail = this.canvas("rec-detail", DETAIL_PX + LANES * LANE_PX);
    this.strip.addEventListener("click", (event) => seek((event.offsetX / this.strip.clientWidth) * this.duration));
    this.detail.addEventListener("click", (event) => {
      seek(Math.min(this.window().start + event.offsetX / PX_PER_S, this.duration));
    });
    this.resized = new ResizeObserver(() => this.draw());
    this.resized.observe(this.element);
    this.duration = 0;
    this.peaks = new Uint8Array();
    this.words = [];
  }

  canvas(name, height) {
    const canvas = document.createElement("canvas");
    canvas.className = name;
    canvas.style.height = `${height}px`;
    this.element.append(canvas);
    return canvas;
  }

  end() {
    this.resized.disconnect();
    cancelAnimationFrame(this.frame);
  }

  /** @param {import("./recording.js").Recording} recording */
  show({ peaks, peaks_per_s, duration, rows }) {
    this.peaks = Uint8Array.from(atob(peaks), (letter) => letter.charCodeAt(0));
    this.peaksPerS = peaks_per_s;
    this.duration = duration;
    this.words = rows.flatMap((row) => row.words);
    this.lanes = null;
    this.draw();
  }

  /** Follow ``player``, an audio or video element. */
  follow(player) {
    this.player = player;
    const step = () => {
      this.draw();
      if (!player.paused && !player.ended) this.frame = requestAnimationFrame(step);
    };
    for (const event of ["play", "seeked", "pause", "loadedmetadata"]) player.addEventListener(event, step);
  }

  get time() {
    return this.player?.currentTime ?? 0;
  }

  /** What of the recording the large part shows, in seconds: the playing position stays in its middle. */
  window() {
    const length = this.detail.clientWidth / PX_PER_S;
    const start = Math.max(0, Math.min(this.time - length / 2, this.duration - length));
    return { start, end: start + length };
  }

  draw() {
    if (!this.element.isConnected || !this.duration) return;
    const style = getComputedStyle(this.element);
    const colour = (name) => style.getPropertyValue(name).trim();
    this.colours = {
      bar: colour("--rec-bar"),
      played: colour("--rec-played"),
      word: colour("--rec-word"),
      current: colour("--rec-current"),
      onCurrent: colour("--rec-on-current"),
    };
    this.font = `14px ${style.fontFamily}`;
    this.drawStrip();
    this.drawDetail();
  }

  drawStrip() {
    const { context, width } = fitted(this.strip, STRIP_PX);
    const count = Math.max(1, Math.floor(width / (BAR_PX + 1)));
    for (let bar = 0; bar < count; bar++) {
      const start = (bar / count) * this.duration;
      const end = ((bar + 1) / count) * this.duration;
      context.fillStyle = end <= this.time ? this.colours.played : this.colours.bar;
      upright(context, (bar * width) / count, BAR_PX, STRIP_PX, this.loudest(start, end));
    }
    const { start, end } = this.window();
    if (end - start < this.duration) {
      context.globalAlpha = 0.14;
      context.fillStyle = this.colours.played;
      context.fillRect((start / this.duration) * width, 0, ((end - start) / this.duration) * width, STRIP_PX);
      context.globalAlpha = 1;
    }
  }

  drawDetail() {
    const { context, width } = fitted(this.detail, DETAIL_PX + LANES * LANE_PX);
    const { start, end } = this.window();
    const step = 1 / this.peaksPerS;
    for (let at = Math.floor(start / step) * step; at < Math.min(end, this.duration); at += step) {
      context.fillStyle = at < this.time ? this.colours.played : this.colours.bar;
      upright(context, (at - start) * PX_PER_S, step * PX_PER_S - 2.5, DETAIL_PX, this.loudest(at, at + step));
    }
    this.drawWords(context, start, end);
    const x = Math.min((this.time - start) * PX_PER_S, width - 1);
    context.fillStyle = this.colours.current;
    context.fillRect(x - 0.75, 0, 1.5, DETAIL_PX);
  }

  drawWords(context, start, end) {
    context.font = this.font;
    context.textBaseline = "middle";
    this.lanes ??= lanesOf(this.words, (text) => context.measureText(text).width);
    this.words.forEach(([text, from, to], number) => {
      if (from > end || to < start - 2) return;
      const x = (from - start) * PX_PER_S;
      const y = DETAIL_PX + this.lanes[number] * LANE_PX + LANE_PX / 2 + 2;
      const next = this.words[number + 1]?.[1] ?? Infinity;
      const current = this.time >= from && this.time < Math.min(Math.max(to, from + 0.1), next);
      if (current) {
        context.fillStyle = this.colours.current;
        context.beginPath();
        context.roundRect(x - 5, y - 10, context.measureText(text).width + 10, 20, 6);
        context.fill();
      }
      context.fillStyle = current ? this.colours.onCurrent : this.colours.word;
      context.fillText(text, x, y);
    });
  }

  /** The highest peak between two times, 0..1. */
  loudest(start, end) {
    const first = Math.round(start * this.peaksPerS);
    const last = Math.max(first + 1, Math.round(end * this.peaksPerS));
    let highest = 0;
    for (let at = first; at < last && at < this.peaks.length; at++) highest = Math.max(highest, this.peaks[at]);
    return highest / 255;
  }
}

/** The canvas as sharp as the screen, empty. */
function fitted(canvas, height) {
  const width = canvas.clientWidth;
  const dense = window.devicePixelRatio || 1;
  if (canvas.width !== Math.round(width * dense) || canvas.height !== Math.round(height * dense)) {
    canvas.width = Math.round(width * dense);
    canvas.height = Math.round(height * dense);
  }
  const context = canvas.getContext("2d");
  context.setTransform(dense, 0, 0, dense, 0, 0);
  context.clearRect(0, 0, width, height);
  return { context, width };
}

function upright(context, x, width, height, level) {
  const tall = Math.max(2, level * (height - 4));
  context.beginPath();
  context.roundRect(x, (height - tall) / 2, width, tall, width / 2);
  context.fill();
}

/** In which lane each word stands, so that none overlaps the one before it there. */
function lanesOf(words, width) {
  const free = new Array(LANES).fill(-Infinity);
  return words.map(([text, start]) => {
    const x = start * PX_PER_S;
    let lane = free.findIndex((end) => end <= x);
    if (lane < 0) lane = free.indexOf(Math.min(...free));
    free[lane] = x + width(text) + 8;
    return lane;
  });
}
