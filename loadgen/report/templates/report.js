// Shows what a mark of a chart says of itself: under the pointer, or step by step with the arrow keys.
(() => {
  "use strict";
  const box = document.getElementById("reading");
  const readable = "[role][aria-label][aria-roledescription='rect mark'], [role][aria-label][aria-roledescription='bar']";
  let shown = null;
  function show(mark, x, y) {
    if (shown) shown.classList.remove("read");
    shown = mark;
    box.hidden = !mark;
    if (!mark) return;
    mark.classList.add("read");
    box.textContent = mark.getAttribute("aria-label");
    const left = x + 16 + box.offsetWidth > innerWidth ? x - 16 - box.offsetWidth : x + 16;
    box.style.left = Math.max(4, left) + "px";
    box.style.top = Math.max(4, Math.min(y + 16, innerHeight - box.offsetHeight - 4)) + "px";
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
      const place = next.getBoundingClientRect();
      show(next, place.right, place.top);
    });
  }
  addEventListener("scroll", () => show(null), { passive: true });
})();
