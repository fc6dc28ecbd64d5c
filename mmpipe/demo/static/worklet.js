// Runs on the audio thread: packs what the microphone gives into packets of 16-bit samples.

class Capture extends AudioWorkletProcessor {
  constructor({ processorOptions }) {
    super();
    this.packet = new Int16Array(processorOptions.packetSamples);
    this.filled = 0;
    this.peak = 0;
  }

  process([[channel]]) {
    for (const sample of channel ?? []) {
      const clipped = Math.max(-1, Math.min(1, sample));
      this.peak = Math.max(this.peak, Math.abs(clipped));
      this.packet[this.filled++] = Math.round(clipped * (clipped < 0 ? 32768 : 32767));
      if (this.filled === this.packet.length) {
        this.port.postMessage({ samples: this.packet.slice(), peak: this.peak });
        this.filled = this.peak = 0;
      }
    }
    return true;
  }
}

registerProcessor("capture", Capture);
