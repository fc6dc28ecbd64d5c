/** A button that records: pressed once it listens, pressed again it gives what it heard. */

export class RecordButton {
  /**
   * @param {HTMLButtonElement} button
   * @param {{heard: (file: File) => void, complain: (text: string) => void}} given
   */
  constructor(button, { heard, complain }) {
    this.button = button;
    this.heard = heard;
    this.complain = complain;
    this.idle = button.textContent;
    button.classList.add("mm-record");
    button.addEventListener("click", () => (this.recorder ? this.recorder.stop() : this.start()));
  }

  async start() {
    let sound;
    try {
      sound = await navigator.mediaDevices.getUserMedia({ audio: true });
    } catch (error) {
      this.complain(refusal(error, "microphone"));
      return;
    }
    const pieces = [];
    this.recorder = new MediaRecorder(sound);
    this.recorder.addEventListener("dataavailable", ({ data }) => pieces.push(data));
    this.recorder.addEventListener("stop", () => this.finish(sound, pieces));
    this.recorder.start();
    this.button.classList.add("mm-recording");
    const began = performance.now();
    const tick = () => {
      const seconds = Math.floor((performance.now() - began) / 1000);
      this.button.textContent = `Stop ${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
    };
    tick();
    this.timer = setInterval(tick, 500);
  }

  finish(sound, pieces) {
    clearInterval(this.timer);
    for (const track of sound.getTracks()) track.stop();
    const type = this.recorder.mimeType || "audio/webm";
    const suffix = type.includes("mp4") ? "m4a" : type.includes("ogg") ? "ogg" : "webm";
    this.recorder = null;
    this.button.textContent = this.idle;
    this.button.classList.remove("mm-recording");
    this.heard(new File(pieces, `recording.${suffix}`, { type }));
  }
}

/** What to do where the browser gives no access to a device. */
export function refusal(error, device) {
  if (error.name === "NotFoundError") return `There is no ${device} on this machine.`;
  if (error.name === "NotAllowedError") return `The browser may not use the ${device}. Allow it beside the address, and try again.`;
  return navigator.mediaDevices
    ? `The ${device} cannot be used: ${error.message}`
    : `Browsers give the ${device} to pages from https or this machine alone. Open the page so.`;
}
