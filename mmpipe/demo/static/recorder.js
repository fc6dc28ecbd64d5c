/** Where a recording comes from: a file that is dropped or chosen, or the microphone. Its value: {path, name} or null. */

import { Dropzone, node } from "./dropzone.js";
import { RecordButton } from "./record.js";

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
  new RecordButton(zone.button("Record", () => zone.problems.replaceChildren()), {
    heard: (file) => zone.take([file]),
    complain: (why) => zone.complain(why),
  });
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
}
