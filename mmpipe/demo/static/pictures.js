/** Keep the newest turn of the conversation in view. @param {HTMLElement} element */
export function mount(element, root, { watch }) {
  const show = () => {
    const log = element.querySelector(".pic-log");
    const newest = log?.querySelector(".pic-turn:last-child");
    if (newest) log.scrollTop = newest.offsetTop - log.offsetTop - 16;
  };
  watch("value", show);
  element.addEventListener("load", show, true); // pictures take their room when they are there
}
