/** A place to drop files on or choose them, with other ways of getting them beside it, and room for what went wrong. */

export class Dropzone {
  /**
   * @param {HTMLElement} element
   * @param {{name: string, invitation: string, hint: string, choose: string, accept: string, multiple: boolean,
   *          upload: (file: File) => Promise<{path: string}>, taken: (files: {path: string, name: string}[]) => void}} given
   *   ``name``: of the whole, for screen readers; ``taken``: told what lies on the server now
   */
  constructor(element, { name, invitation, hint, choose, accept, multiple, upload, taken }) {
    this.uploadOne = upload;
    this.taken = taken;
    this.multiple = multiple;
    this.element = node("div", { class: "mm-drop", role: "group", "aria-label": name });
    this.invitation = node("p", { class: "mm-drop-invitation" }, invitation);
    this.input = node("input", { type: "file", accept, class: "mm-unseen" });
    this.input.multiple = multiple;
    const label = node("label", { class: "mm-button mm-button-first" }, choose);
    label.append(this.input);
    this.actions = node("div", { class: "mm-drop-actions" });
    this.actions.append(label);
    this.content = node("div", { class: "mm-drop-content" });
    this.status = node("p", { class: "mm-hint", role: "status" }, hint);
    this.problems = node("div", { class: "mm-problems" });
    this.hint = hint;
    this.element.append(this.content, this.invitation, this.actions, this.status, this.problems);
    element.append(this.element);
    this.input.addEventListener("change", () => {
      this.take([...this.input.files]);
      this.input.value = ""; // the same file may be chosen again
    });
    for (const event of ["dragenter", "dragover"]) this.element.addEventListener(event, (drag) => this.over(drag));
    for (const event of ["dragleave", "drop"]) {
      this.element.addEventListener(event, () => this.element.classList.remove("mm-over"));
    }
    this.element.addEventListener("drop", (drop) => {
      drop.preventDefault();
      this.take([...drop.dataTransfer.files]);
    });
  }

  /** One more way of getting a file. @returns {HTMLButtonElement} */
  button(text, pressed) {
    const button = node("button", { type: "button", class: "mm-button" }, text);
    button.addEventListener("click", pressed);
    this.actions.append(button);
    return button;
  }

  over(drag) {
    drag.preventDefault();
    this.element.classList.add("mm-over");
  }

  /** Send ``files`` to the server, and say so. @param {File[]} files */
  async take(files) {
    this.problems.replaceChildren();
    const done = [];
    for (const file of this.multiple ? files : files.slice(0, 1)) {
      this.say(`Uploading ${file.name} …`);
      try {
        const { path } = await this.uploadOne(file);
        done.push({ path, name: file.name });
      } catch (error) {
        this.complain(`${file.name} could not be uploaded: ${error.message || error}`);
      }
    }
    this.say(this.hint);
    if (done.length) this.taken(done);
  }

  say(text) {
    this.status.textContent = text;
  }

  complain(text) {
    this.problems.append(node("p", { class: "mm-problem", role: "alert" }, text));
  }
}

export function node(tag, attributes = {}, text = "") {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (text) made.textContent = text;
  return made;
}

/** Where the server gives out a file of this visitor. @param {string} path @param {URL} root */
export function fileUrl(path, root) {
  return new URL(`gradio_api/file=${path.split("/").map(encodeURIComponent).join("/")}`, root).href;
}
