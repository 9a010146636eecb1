// The page of a report with JavaScript: its parts come by server-sent events (HTMX); a quote opens in its place, beside.
(() => {
  const page = document.querySelector("[data-report]");
  if (!page || !window.htmx) return;
  const run = page.dataset.report;
  const body = document.getElementById("body");
  let missed = false;

  const focusNext = {};  // what gets the focus once a part has been swapped, by the part's id
  let chosen = null;  // what its reader opened in the panel, which no event takes away

  const open = (query, focus) => {
    history.replaceState(history.state, "", run + query);
    chosen = new URLSearchParams(query).toString();
    focusNext.panel = focus ?? (() => document.getElementById("panel-title"));
    htmx.ajax("GET", `${run}/panel${query}`, { source: page, target: "#panel", swap: "outerHTML" });
  };
  const stale = (event) => {
    if (chosen === null || event.detail.target.id !== "panel") return false;
    return new URL(event.detail.pathInfo.requestPath, location).searchParams.toString() !== chosen;
  };
  document.body.addEventListener("htmx:afterSettle", (event) => {
    const part = event.target.closest("#panel, #body")?.id;
    if (part !== "body" || document.activeElement === document.body) focusNext[part]?.()?.focus();
    delete focusNext[part];
  });

  page.addEventListener("click", (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
    const link = event.target.closest("a.to-panel, .panel-head a, a[data-node]");
    if (!link) return;
    event.preventDefault();
    const cited = link.closest(".cited");
    if (cited) {  // the mouse rests on it still
      cited.querySelector("[popover]").hidePopover?.();
      cited.classList.add("quiet");
      cited.addEventListener("pointerleave", () => cited.classList.remove("quiet"), { once: true });
    }
    if (link.matches("[data-node]")) open(`?node=${encodeURIComponent(link.dataset.node)}`);
    else if (link.matches(".to-panel")) open(new URL(link.href).search);
    else open("", () => page.querySelector(`[popovertarget="${link.hash.slice(1)}"]`));
  });

  // what is open stays open: the report is not drawn anew below a pop-over; and a number keeps the focus
  const disturbs = () => {
    if (body.querySelector(":popover-open")) return (missed = true);
    const held = body.contains(document.activeElement) && document.activeElement.getAttribute("popovertarget");
    if (held) focusNext.body = () => page.querySelector(`[popovertarget="${held}"]`);
    return false;
  };
  document.body.addEventListener("htmx:sseBeforeMessage", (event) => {
    if (event.target === body && disturbs()) event.preventDefault();
  });
  document.body.addEventListener("htmx:beforeSwap", (event) => {
    if (event.detail.target === body ? disturbs() : stale(event)) event.detail.shouldSwap = false;
  });
  body.addEventListener("toggle", (event) => {
    if (!missed || event.newState !== "closed") return;
    missed = false;
    htmx.ajax("GET", `${run}/answer`, { source: body, target: "#body", swap: "innerHTML" });
  }, true);
})();
