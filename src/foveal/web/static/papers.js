// What pages of papers gain with JavaScript: links are copied, the tab shown is in sight.
(() => {
  for (const button of navigator.clipboard ? document.querySelectorAll("[data-copy]") : []) button.hidden = false;
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    const said = button.dataset.said ??= button.textContent;  // pressed twice, it still says in the end what it does
    const copied = navigator.clipboard.writeText(button.dataset.copy);
    button.textContent = await copied.then(() => "Copied", () => "Not copied");
    clearTimeout(button.dataset.timer);
    button.dataset.timer = setTimeout(() => { button.textContent = said; }, 1500);
  });

  const tab = document.querySelector(".tabs [aria-current]");
  if (tab) tab.parentElement.scrollLeft = tab.offsetLeft - tab.parentElement.offsetLeft - 16;
})();
