// The visitor's microphone as packets of 16 kHz 16-bit mono sound.

const PACKET_S = 0.04;
const SPEECH_RATE_HZ = 16_000;

const REFUSALS = {
  NotAllowedError: "The browser does not let this page use the microphone. Allow it beside the address, then start again.",
  NotFoundError: "No microphone was found. Plug one in, then start again.",
  NotReadableError: "The microphone is in use by another program. Close that, then start again.",
};

/** An error whose message is for the visitor. */
export class MicrophoneError extends Error {}

export class Microphone {
  /**
   * Ask for the microphone. It is heard from `begin` on.
   * @param {{cancelEcho: boolean}} options
   */
  static async open({ cancelEcho }) {
    if (!navigator.mediaDevices) {
      throw new MicrophoneError("Browsers give a page the microphone only over https or on this very machine. Ask whoever runs the page for an https address.");
    }
    let stream;
    try {
      stream = await navigator.mediaDevices.getUserMedia({
        audio: { channelCount: 1, echoCancellation: cancelEcho, noiseSuppression: false, autoGainControl: true },
      });
    } catch (error) {
      throw new MicrophoneError(REFUSALS[error.name] ?? `The microphone cannot be used: ${error.message}.`);
    }
    return new Microphone(stream);
  }

  constructor(stream) {
    this.stream = stream;
    this.context = null;
  }

  /**
   * @param {(samples: Int16Array, peak: number) => void} onPacket  `peak`: 0 to 1
   * @param {() => void} onEnd  it was unplugged, or taken away
   * @returns {Promise<number>} the rate of the packets, in Hz
   */
  async begin(onPacket, onEnd) {
    let source;
    try {
      this.context = new AudioContext({ sampleRate: SPEECH_RATE_HZ });
      source = this.context.createMediaStreamSource(this.stream);
    } catch {  // Firefox does not convert between rates here; the server does
      this.context = new AudioContext();
      source = this.context.createMediaStreamSource(this.stream);
    }
    await this.context.audioWorklet.addModule(new URL("worklet.js", import.meta.url));
    const rateHz = this.context.sampleRate;
    const capture = new AudioWorkletNode(this.context, "capture", {
      numberOfOutputs: 0,
      channelCount: 1,
      channelCountMode: "explicit",
      processorOptions: { packetSamples: Math.round(PACKET_S * rateHz) },
    });
    capture.port.onmessage = ({ data }) => onPacket(data.samples, data.peak);
    source.connect(capture);
    this.stream.getAudioTracks()[0].onended = onEnd;
    await this.context.resume();
    return rateHz;
  }

  /** Stop hearing for a while; the browser shows that it does not listen. */
  set muted(muted) {
    for (const track of this.stream.getAudioTracks()) track.enabled = !muted;
  }

  close() {
    for (const track of this.stream.getTracks()) track.stop();
    this.context?.close();
  }
}
