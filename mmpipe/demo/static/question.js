/** Where a question is typed or spoken. Its value when it is asked: {text} or {path}, where the recording lies. */

import { node } from "./dropzone.js";
import { RecordButton } from "./record.js";

/** @param {HTMLElement} element */
export function mount(element, root, { props, watch, trigger, upload }) {
  const form = node("form", { class: "pic-question" });
  const label = node("label", { class: "mm-unseen", for: "pic-question-text" }, "Question");
  const text = node("textarea", { id: "pic-question-text", rows: "1", placeholder: "Ask about the picture", maxlength: String(props.most) });
  const speak = node("button", { type: "button", class: "mm-button" }, "Speak");
  const send = node("button", { type: "submit", class: "mm-button pic-ask" }, "Ask");
  const problems = node("div", { class: "mm-problems" });
  form.append(label, text, speak, send);
  element.append(form, problems);

  const ask = (value) => {
    problems.replaceChildren();
    props.value = { ...value, at: Date.now() }; // asked twice, it is another question
    trigger("submit");
  };
  const complain = (why) => problems.replaceChildren(node("p", { class: "mm-problem", role: "alert" }, why));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    ask({ text: text.value.trim() });
    text.value = "";
    grow();
  });
  text.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      form.requestSubmit();
    }
  });
  const grow = () => {
    text.style.height = "auto";
    text.style.height = `${Math.min(text.scrollHeight + 2, 140)}px`;
  };
  text.addEventListener("input", grow);
  new RecordButton(speak, {
    complain,
    heard: async (file) => {
      try {
        ask({ path: (await upload(file)).path });
      } catch (error) {
        complain(`The question could not be uploaded: ${error.message || error}`);
      }
    },
  });
  const show = () => {
    for (const control of [text, speak, send]) control.disabled = !props.answers;
  };
  watch("answers", show);
  show();
}
