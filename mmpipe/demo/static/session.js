// What the tabs of this page share.

/** @type {{timeline: import("./timeline.js").Timeline|null}} the last live session */
export const last = { timeline: null };
