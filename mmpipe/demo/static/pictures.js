/** Keep the newest turn of the conversation in view. @param {HTMLElement} element */
export function mount(element, root, { watch }) {
  watch("value", () => {
    const log = element.querySelector(".pic-log");
    if (log) log.scrollTop = log.scrollHeight;
  });
}
