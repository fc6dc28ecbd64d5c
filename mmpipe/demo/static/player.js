// The spoken translation, piece after piece, as it comes.

const GAP_S = 0.25;  // between the pieces of the file

export class VoicePlayer {
  /** @param {(playing: boolean) => void} onPlaying */
  constructor(onPlaying) {
    this.onPlaying = onPlaying;
    this.context = new AudioContext();
    this.gain = new GainNode(this.context);
    this.gain.connect(this.context.destination);
    this.queue = new Set();   // sources that play or will
    this.pieces = [];         // {samples, rateHz}, for the file
    this.nextS = 0;
    this.playing = false;
  }

  /** Silence it, or not; time goes on. */
  set muted(muted) {
    this.gain.gain.value = muted ? 0 : 1;
  }

  /**
   * @param {Int16Array} samples
   * @returns {number} in how many seconds it will be heard
   */
  add(samples, rateHz) {
    if (!samples.length) return 0;
    const buffer = new AudioBuffer({ length: samples.length, numberOfChannels: 1, sampleRate: rateHz });
    buffer.copyToChannel(Float32Array.from(samples, (sample) => sample / 32768), 0);
    const source = new AudioBufferSourceNode(this.context, { buffer });
    const startS = Math.max(this.context.currentTime + 0.02, this.nextS);
    const piece = { source, startS, samples, rateHz };
    source.connect(this.gain);
    source.onended = () => this.#ended(piece);
    source.start(startS);
    this.nextS = startS + buffer.duration;
    this.queue.add(piece);
    this.pieces.push(piece);
    this.#tell(true);
    return startS - this.context.currentTime;
  }

  /** Stop at once, and forget what was not played. */
  interrupt() {
    const now = this.context.currentTime;
    this.pieces = this.pieces.filter((piece) => piece.startS <= now);
    for (const { source } of this.queue) source.stop();
    this.queue.clear();
    this.nextS = 0;
    this.#tell(false);
  }

  /** All that was heard, one after the other. @returns {{samples: Int16Array, rateHz: number}} */
  recording() {
    const rateHz = this.pieces[0]?.rateHz ?? 24_000;
    const gap = Math.round(GAP_S * rateHz);
    const samples = new Int16Array(this.pieces.reduce((total, piece) => total + piece.samples.length + gap, 0));
    let at = 0;
    for (const piece of this.pieces) {
      samples.set(piece.samples, at);
      at += piece.samples.length + gap;
    }
    return { samples, rateHz };
  }

  close() {
    this.context.close();
  }

  #ended(piece) {
    this.queue.delete(piece);
    if (!this.queue.size) this.#tell(false);
  }

  #tell(playing) {
    if (playing !== this.playing) {
      this.playing = playing;
      this.onPlaying(playing);
    }
  }
}
