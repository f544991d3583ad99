// Short messages, seen at the edge of the page and read out by screen readers.

let timer: ReturnType<typeof setTimeout> | undefined;

/** Says that something was done. Where a dialog is open, `within` it: the page behind it is silent. */
export function announce(text: string, within: HTMLElement | null = document.getElementById("announcer")): void {
  if (within === null) {
    return;
  }
  clearTimeout(timer);
  within.textContent = text;
  within.classList.add("shown");
  timer = setTimeout(() => {
    within.classList.remove("shown");
    within.textContent = "";
  }, 6000);
}
