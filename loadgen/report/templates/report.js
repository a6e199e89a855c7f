// Shows the values of a chart mark: the one under the pointer, or the next one with the arrow keys.
(() => {
  "use strict";
  const tooltip = document.getElementById("tooltip");
  const readable = "[role][aria-label][aria-roledescription='rect mark'], [role][aria-label][aria-roledescription='bar']";
  let shown = null;
  function show(mark, x, y) {
    if (shown) shown.classList.remove("active");
    shown = mark;
    tooltip.hidden = !mark;
    if (!mark) return;
    mark.classList.add("active");
    tooltip.textContent = mark.getAttribute("aria-label");
    const left = x + 16 + tooltip.offsetWidth > innerWidth ? x - 16 - tooltip.offsetWidth : x + 16;
    tooltip.style.left = Math.max(4, left) + "px";
    tooltip.style.top = Math.max(4, Math.min(y + 16, innerHeight - tooltip.offsetHeight - 4)) + "px";
  }
  for (const chart of document.querySelectorAll(".chart")) {
    chart.addEventListener("pointermove", (event) => show(event.target.closest(readable), event.clientX, event.clientY));
    chart.addEventListener("pointerdown", (event) => show(event.target.closest(readable), event.clientX, event.clientY));
    chart.addEventListener("pointerleave", () => show(null));
    chart.addEventListener("blur", () => show(null));
    chart.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (event.key === "Escape") show(null);
      if (!step) return;
      event.preventDefault();
      const marks = [...chart.querySelectorAll(readable)];
      const next = marks[(marks.indexOf(shown) + step + marks.length) % marks.length];
      if (!next) return;
      const bounds = next.getBoundingClientRect();
      show(next, bounds.right, bounds.top);
    });
  }
  addEventListener("scroll", () => show(null), { passive: true });
})();
