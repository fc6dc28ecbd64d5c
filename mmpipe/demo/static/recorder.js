/** Where a recording comes from: a file that is dropped or chosen, or the microphone. Its value: {path, name} or null. */

import { Dropzone, node } from "./dropzone.js";

/** @param {HTMLElement} element */
export function mount(element, root, { props, watch, trigger, upload }) {
  const zone = new Dropzone(element, {
    name: "Recording",
    invitation: "Drop sound or video here",
    hint: props.hint,
    choose: "Choose a file",
    accept: "audio/*,video/*,.wav,.flac,.ogg,.opus,.mkv,.m4a",
    multiple: false,
    upload,
    taken: ([file]) => {
      props.value = file;
      trigger("upload");
    },
  });
  const microphone = new Microphone(zone);
  const show = () => {
    zone.content.replaceChildren();
    zone.element.classList.toggle("mm-filled", Boolean(props.value?.path));
    if (!props.value?.path) return;
    const chosen = node("p", { class: "mm-chosen" });
    const remove = node("button", { type: "button", class: "mm-remove", "aria-label": `Take ${props.value.name} away` }, "×");
    remove.addEventListener("click", () => {
      props.value = null;
      show();
    });
    chosen.append(node("span", {}, props.value.name), remove);
    zone.content.append(chosen);
  };
  watch("value", show);
  show();
  return microphone;
}

class Microphone {
  /** @param {Dropzone} zone */
  constructor(zone) {
    this.zone = zone;
    this.button = zone.button("Record", () => (this.recorder ? this.recorder.stop() : this.start()));
    this.button.classList.add("mm-record");
  }

  async start() {
    this.zone.problems.replaceChildren();
    let sound;
    try {
      sound = await navigator.mediaDevices.getUserMedia({ audio: true });
    } catch (error) {
      this.zone.complain(refusal(error, "microphone"));
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
      this.button.textContent = `Stop (${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")})`;
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
    this.button.textContent = "Record";
    this.button.classList.remove("mm-recording");
    this.zone.take([new File(pieces, `recording.${suffix}`, { type })]);
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
