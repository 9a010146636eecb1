// The page of a run with JavaScript: its parts come by server-sent events (HTMX); nodes open beside the answer.
(() => {
  const page = document.querySelector("[data-run]");
  if (!page || !window.htmx) return;
  const run = page.dataset.run;
  const answer = document.getElementById("answer");
  let missed = false;
  let chosen = null;  // the node that its reader opened, which no event takes away
  let wanted = false;  // whether the panel gets the focus once it is there

  const mark = () => {  // the node that is shown is the current one, in the graph and in the list
    const shown = document.getElementById("panel")?.dataset.node;
    for (const link of page.querySelectorAll("#graph [data-node], #outline [data-node]")) {
      if (link.dataset.node === shown) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
    }
  };

  page.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-node]");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
    event.preventDefault();
    const query = `?node=${encodeURIComponent(link.dataset.node)}`;
    history.replaceState(history.state, "", run + query);
    chosen = link.dataset.node;
    wanted = true;
    htmx.ajax("GET", `${run}/panel${query}`, { source: page, target: "#panel", swap: "outerHTML" });
  });
  document.body.addEventListener("htmx:afterSettle", () => {
    const panel = document.getElementById("panel");
    if (!wanted || panel?.dataset.node !== chosen) return;
    wanted = false;
    document.getElementById("panel-title")?.focus();
  });
  for (const name of ["htmx:responseError", "htmx:sendError"])
    document.body.addEventListener(name, (event) => {  // what is shown stays, and goes on
      if (event.detail.target?.id !== "panel") return;
      wanted = false;
      chosen = document.getElementById("panel")?.dataset.node ?? null;
    });

  const stale = (event) => {
    if (chosen === null || event.detail.target.id !== "panel") return false;
    return new URL(event.detail.pathInfo.requestPath, location).searchParams.get("node") !== chosen;
  };

  // what is open stays open: the answer is not drawn anew below a pop-up; and a number keeps the focus
  let held = null;
  const disturbs = () => {
    if (answer.querySelector(":popover-open")) return (missed = true);
    const focused = document.activeElement;
    if (answer.contains(focused)) held = focused.getAttribute("popovertarget");
    else if (focused !== document.body) held = null;  // the body: what had it was drawn anew, and has not settled
    return false;
  };
  document.body.addEventListener("htmx:sseBeforeMessage", (event) => {
    if (event.target === answer && disturbs()) event.preventDefault();
  });
  document.body.addEventListener("htmx:beforeSwap", (event) => {
    if (event.detail.target === answer ? disturbs() : stale(event)) event.detail.shouldSwap = false;
  });
  document.body.addEventListener("htmx:afterSettle", (event) => {
    if (held === null || !event.target.closest("#answer")) return;
    if (document.activeElement === document.body) page.querySelector(`[popovertarget="${held}"]`)?.focus();
    held = null;
  });
  answer.addEventListener("toggle", (event) => {
    if (!missed || event.newState !== "closed") return;
    missed = false;
    htmx.ajax("GET", `${run}/answer`, { source: answer, target: "#answer", swap: "innerHTML" });
  }, true);

  let scrolled = 0;  // the graph stays where it was scrolled to
  page.addEventListener("scroll", (event) => { if (event.target.matches?.(".graph-frame")) scrolled = event.target.scrollLeft; }, true);
  document.body.addEventListener("htmx:sseMessage", () => {
    const frame = page.querySelector(".graph-frame");
    if (frame && frame.scrollLeft !== scrolled) frame.scrollLeft = scrolled;
    mark();
  });
  document.body.addEventListener("htmx:afterSwap", mark);
})();
