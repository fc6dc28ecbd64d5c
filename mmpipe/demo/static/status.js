// The line at the head of the page: which models are still being loaded, and which could not be.

const EVERY_MS = 1500;

/** @param {HTMLElement} element @param {URL} root */
export function mount(element, root) {
  const line = element.querySelector(".mm-status");

  async function look() {
    try {
      const answer = await fetch(new URL("demo/status", root));
      const { live, failure, models } = await answer.json();
      const pending = models.filter(({ state }) => state === "waiting" || state === "loading");
      line.dataset.state = failure ? "failed" : pending.length ? "loading" : "ready";
      line.textContent = failure ?? words(live, pending);
      if (pending.length || !live) setTimeout(look, EVERY_MS);
    } catch {
      line.dataset.state = "failed";
      line.textContent = "The server does not answer.";
      setTimeout(look, 2 * EVERY_MS);
    }
  }

  look();
}

function words(live, pending) {
  if (!pending.length) return live ? "Ready" : "Warming up";
  const names = pending.map(({ name }) => name.toLowerCase()).join(", ");
  return live ? `Live translation is ready; still loading: ${names}` : `Warming up: ${names}`;
}
