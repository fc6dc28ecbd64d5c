// The live protocol (docs/protocol.md) from the side of the page: start, packets, events, and coming back after the
// connection was lost.

const RETRY_S = [0.3, 0.7, 1.5, 3, 5, 8];
const ACK_EVERY_EVENTS = 16;
const PING_EVERY_S = 5;
const SILENT_FOR_S = 12;       // the server answers pings: silence means that the network is gone
const KEPT_S = 60;             // of sound that the server has not acknowledged
const HEADER_BYTES = 8;

const Close = { DONE: 1000, UNKNOWN: 4404, IDLE: 4408, REPLACED: 4409, GONE: 4410, BUSY: 4503, SLOW: 4508 };

/**
 * What the page is told:
 * - `opened({resumed})`: the server listens
 * - `event(event)`: as the protocol has it; `spoken` with `event.sound`, an Int16Array
 * - `waiting({why, text, inS})`: not connected; `why` is "lost" or "busy"; tries again in `inS` seconds
 * - `closed({why, text})`: over for good; `why` is "ended", "forgotten", "refused" or "left"
 * @typedef {{opened: Function, event: Function, waiting: Function, closed: Function}} Listener
 */

export class LiveConnection {
  /**
   * @param {URL} url  of the WebSocket
   * @param {object} start  the fields of the start message
   * @param {Listener} listener
   */
  constructor(url, start, listener) {
    Object.assign(this, { url, listener, start });
    this.session = this.token = null;
    this.socket = null;
    this.over = false;
    this.lastEvent = this.acknowledged = 0;
    this.attempts = 0;
    this.refusal = null;       // the last error message
    this.ended = null;         // the last event
    this.packets = [];         // {seq, position, samples}: sent or to be sent, not acknowledged
    this.nextSeq = this.position = 0;
    this.finished = false;
    this.speaking = null;      // a spoken event whose sound has not all come
    this.heardFrom = 0;
    this.clock = setInterval(() => this.#watch(), 1000 * PING_EVERY_S);
    this.online = () => this.#retryNow();
    addEventListener("online", this.online);
    this.#connect();
  }

  /** Seconds of sound so far, in the server's count. */
  get sentS() {
    return this.position / this.start.rate_hz;
  }

  /** @param {Int16Array} samples */
  send(samples) {
    if (this.over || this.finished) return;
    const position = this.position;
    this.position += samples.length;
    const kept = this.packets.reduce((total, packet) => total + packet.samples.length, 0);
    if (kept > KEPT_S * this.start.rate_hz) return;  // time goes on, which the next position tells
    const packet = { seq: this.nextSeq++, position, samples };
    this.packets.push(packet);
    if (this.#isOpen) this.#sendPacket(packet);
  }

  /** No more sound will come: the server works off what it has, then ends the session. */
  finish() {
    this.finished = true;
    if (this.#isOpen) this.#say({ type: "finish", packets: this.nextSeq });
  }

  /** Whether the voice is being played. */
  playing(playing) {
    if (this.#isOpen) this.#say({ type: "playing", playing });
  }

  /** Leave for good. */
  leave() {
    this.#end("left", "");
  }

  get #isOpen() {
    return this.session !== null && this.socket?.readyState === WebSocket.OPEN && this.welcomed;
  }

  #connect() {
    clearTimeout(this.retry);
    this.welcomed = false;
    this.refusal = null;
    this.speaking = null;
    this.heardFrom = performance.now();
    const socket = this.socket = new WebSocket(this.url);
    socket.binaryType = "arraybuffer";
    socket.onopen = () => {
      const back = { type: "resume", session: this.session, token: this.token, last_event: this.lastEvent };
      this.#say(this.session ? back : { type: "start", ...this.start });
    };
    socket.onmessage = ({ data }) => {
      if (socket !== this.socket) return;
      this.heardFrom = performance.now();
      if (typeof data === "string") this.#told(JSON.parse(data));
      else this.#heard(data);
    };
    socket.onclose = ({ code }) => socket === this.socket && this.#closed(code);
  }

  #told(message) {
    switch (message.type) {
      case "started": return this.#welcomed(message);
      case "ack": return this.#forget(message.next_packet);
      case "error": this.refusal = message; return;
      case "pong": return;
      case "spoken":
        this.speaking = { ...message, sound: new Int16Array(message.samples), filled: 0 };
        if (!message.samples) this.#whole();
        return;
      default: this.#received(message);
    }
  }

  #welcomed({ session, token, next_packet }) {
    const resumed = this.session !== null;
    Object.assign(this, { session, token, welcomed: true, attempts: 0 });
    this.#forget(next_packet);
    for (const packet of this.packets) this.#sendPacket(packet);
    if (this.finished) this.finish();
    this.listener.opened({ resumed });
  }

  #forget(nextPacket) {
    while (this.packets.length && this.packets[0].seq < nextPacket) this.packets.shift();
  }

  #heard(data) {
    if (!this.speaking) return;
    const samples = new Int16Array(data, HEADER_BYTES);
    this.speaking.sound.set(samples, new DataView(data).getUint32(4, true));
    this.speaking.filled += samples.length;
    if (this.speaking.filled >= this.speaking.samples) this.#whole();
  }

  #whole() {
    const event = this.speaking;
    this.speaking = null;
    this.#received(event);
  }

  #received(event) {
    if (event.seq <= this.lastEvent) return;
    this.lastEvent = event.seq;
    if (event.type === "ended") this.ended = event;
    this.listener.event(event);
    if (this.lastEvent - this.acknowledged >= ACK_EVERY_EVENTS) this.#acknowledge();
  }

  #acknowledge() {
    if (this.lastEvent === this.acknowledged) return;
    this.acknowledged = this.lastEvent;
    this.#say({ type: "ack", event: this.lastEvent });
  }

  #watch() {
    if (!this.#isOpen) return;
    if (performance.now() - this.heardFrom > 1000 * SILENT_FOR_S) {
      this.socket.close();
      this.#closed(0);
      return;
    }
    this.#acknowledge();
    this.#say({ type: "ping" });
  }

  #closed(code) {
    if (this.over) return;
    const text = this.refusal?.text ?? "";
    if (this.ended) this.#end("ended", this.ended.reason);
    else if (code === Close.BUSY) this.#wait("busy", text, this.refusal?.retry_after_s ?? 5);
    else if (code === Close.UNKNOWN || code === Close.GONE) this.#end("forgotten", text);
    else if (code === Close.REPLACED) this.#end("refused", "This session goes on in another window.");
    else if (code >= 4000 && code !== Close.IDLE && code !== Close.SLOW) this.#end("refused", text);
    else this.#wait("lost", text, RETRY_S[Math.min(this.attempts++, RETRY_S.length - 1)]);
  }

  #wait(why, text, inS) {
    this.socket = null;
    this.retry = setTimeout(() => this.#connect(), 1000 * inS);
    this.listener.waiting({ why, text, inS });
  }

  #retryNow() {
    if (!this.over && this.socket === null) this.#connect();
  }

  #end(why, text) {
    if (this.over) return;
    this.over = true;
    clearInterval(this.clock);
    clearTimeout(this.retry);
    removeEventListener("online", this.online);
    this.socket?.close(Close.DONE);
    this.listener.closed({ why, text });
  }

  #sendPacket({ seq, position, samples }) {
    const message = new Uint8Array(HEADER_BYTES + samples.byteLength);
    const header = new DataView(message.buffer);
    header.setUint32(0, seq, true);
    header.setUint32(4, position % 2 ** 32, true);
    message.set(new Uint8Array(samples.buffer, samples.byteOffset, samples.byteLength), HEADER_BYTES);
    this.socket.send(message);
  }

  #say(message) {
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(message));
  }
}
