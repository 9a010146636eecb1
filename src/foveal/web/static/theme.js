// Runs before the page is drawn: a theme that was chosen here before holds at once.
(() => {
  try {
    const chosen = localStorage.getItem("foveal-theme");
    if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
  } catch { /* storage is refused: the system's theme holds */ }
})();
