// Runs before the first paint, so that a chosen theme never flashes. Without a choice the system's preference holds.
(() => {
  "use strict";
  try {
    const chosen = localStorage.getItem("rag-theme");
    if (chosen === "dark" || chosen === "light") document.documentElement.dataset.theme = chosen;
  } catch {
    // Storage may be switched off; the preference of the system then holds.
  }
})();
