// What can be spoken and translated here, and how well.

const CAPTIONS_ONLY = "";
export const DETECT = "";

/** As `/demo/languages` gives it. */
export class Languages {
  constructor({ names, spoken, routes, voices, unspaced, tiers }) {
    Object.assign(this, { names, spoken, voices, unspaced: new Set(unspaced), tiers });
    this.routes = new Map(routes.map((route) => [`${route.source}>${route.target}`, route]));
  }

  name(code) {
    return this.names[code] ?? code;
  }

  route(source, target) {
    return this.routes.get(`${source}>${target}`);
  }

  /** Languages to translate `source` (detected: any) into, those of each tier together, the best tier first. */
  targets(source) {
    const found = Object.fromEntries(Object.keys(this.tiers).map((tier) => [tier, new Set()]));
    for (const { source: from, target, tier } of this.routes.values()) {
      if (from === (source || "en")) found[tier].add(target);
    }
    return Object.entries(found).map(([tier, codes]) => [tier, this.#sorted(codes)]).filter(([, codes]) => codes.length);
  }

  /** Languages that can be spoken, those that can also be translated first. */
  sources() {
    const translated = new Set([...this.routes.values()].map(({ source }) => source));
    return {
      translated: this.#sorted(this.spoken.filter((code) => translated.has(code))),
      captions: this.#sorted(this.spoken.filter((code) => !translated.has(code))),
    };
  }

  #sorted(codes) {
    return [...codes].sort((a, b) => this.name(a).localeCompare(this.name(b)));
  }
}

/** Fill `select` with what can be spoken. */
export function fillSources(select, languages, { detect, chosen }) {
  const { translated, captions } = languages.sources();
  select.replaceChildren();
  if (detect) select.append(new Option("Detect the language", DETECT));
  group(select, "Can be translated", translated, languages);
  if (detect) group(select, "Captions only", captions, languages);
  choose(select, chosen);
}

/** Fill `select` with what `source` can be translated into. */
export function fillTargets(select, languages, source, { captionsOnly, chosen }) {
  select.replaceChildren();
  for (const [tier, codes] of languages.targets(source)) group(select, `Quality: ${tier}`, codes, languages);
  if (captionsOnly) select.append(new Option("No translation, captions only", CAPTIONS_ONLY));
  choose(select, chosen);
}

function group(select, label, codes, languages) {
  const element = Object.assign(document.createElement("optgroup"), { label });
  element.append(...codes.map((code) => new Option(languages.name(code), code)));
  if (codes.length) select.append(element);
}

function choose(select, chosen) {
  const values = [...select.options].map(({ value }) => value);
  select.value = values.includes(chosen) ? chosen : values[0] ?? "";
}
