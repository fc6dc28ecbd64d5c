export function mount(element, root) {}
