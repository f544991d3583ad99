// The icons of the page. Each has a text next to it, so screen readers skip the icons.

import { svg, html, type TemplateResult } from "lit-html";

const SHAPES = {
  shield: svg`<path d="M12 2.5 4 5.5v6c0 5 3.4 8.7 8 10 4.6-1.3 8-5 8-10v-6Z"/>`,
  "shield-check": svg`<path d="M12 2.5 4 5.5v6c0 5 3.4 8.7 8 10 4.6-1.3 8-5 8-10v-6Z"/><path d="m8.5 12 2.5 2.5 4.5-5"/>`,
  phone: svg`<rect x="6.5" y="2.5" width="11" height="19" rx="2.5"/><path d="M11 18.5h2"/>`,
  cross: svg`<path d="m6 6 12 12M18 6 6 18"/>`,
  plus: svg`<path d="M12 5v14M5 12h14"/>`,
  copy: svg`<rect x="8.5" y="8.5" width="12" height="12" rx="2"/><path d="M15.5 5.5v-.5a1.5 1.5 0 0 0-1.5-1.5H5A1.5 1.5 0 0 0 3.5 5v9A1.5 1.5 0 0 0 5 15.5h.5"/>`,
  download: svg`<path d="M12 3.5v12m-5-4.5 5 5 5-5M4.5 20.5h15"/>`,
  print: svg`<path d="M7 8.5v-5h10v5M7 17H5a1.5 1.5 0 0 1-1.5-1.5V10A1.5 1.5 0 0 1 5 8.5h14a1.5 1.5 0 0 1 1.5 1.5v5.5A1.5 1.5 0 0 1 19 17h-2"/><path d="M7 14h10v6.5H7Z"/>`,
} as const;

export function icon(name: keyof typeof SHAPES): TemplateResult {
  return html`<svg class="drawing" viewBox="0 0 24 24" aria-hidden="true" focusable="false">${SHAPES[name]}</svg>`;
}
