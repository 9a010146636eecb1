// What pages gain with JavaScript; all of them work without it. Clicks are heard by the document: where HTMX goes back
// to a page that it kept, its elements are new.
(() => {
  const root = document.documentElement;
  const dark = () => (root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches);

  for (const button of document.querySelectorAll("[data-theme-switch]")) button.hidden = false;
  document.addEventListener("click", (event) => {
    if (!event.target.closest("[data-theme-switch]")) return;
    root.dataset.theme = dark() ? "light" : "dark";
    try { localStorage.setItem("foveal-theme", root.dataset.theme); } catch { /* holds for this page */ }
  });

  // where one's own pages stand in a line that is drawn aside, the one that is open is in sight
  const open = document.querySelector(".yours [aria-current]");
  open?.parentElement.scrollTo({ left: open.offsetLeft - (open.parentElement.clientWidth - open.offsetWidth) / 2 });

  // whoever subscribes means an hour of their own; what was typed stays
  for (const field of document.querySelectorAll("[data-own-zone]")) {
    if (field.value === field.defaultValue) field.value = Intl.DateTimeFormat().resolvedOptions().timeZone || field.value;
  }

  // what is there to be copied is marked whole
  document.addEventListener("focusin", (event) => event.target.closest("[data-select]")?.select());

  // a form that writes is sent once: what was pressed shows that it is at work, and pressed again asks nothing twice
  const WORKS_MS = 15_000;
  const sent = new Map();
  const free = (form) => {
    sent.get(form)?.removeAttribute("aria-busy");
    sent.delete(form);
  };
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (event.defaultPrevented) return;
    if (sent.has(form) && form.method === "post") return event.preventDefault();
    event.submitter?.setAttribute("aria-busy", "true");
    sent.set(form, event.submitter);
    setTimeout(() => free(form), WORKS_MS);
  });
  addEventListener("pageshow", () => [...sent.keys()].forEach(free));

  // what opened above the page closes by Escape, and by a press elsewhere
  const opened = () => [...document.querySelectorAll("details.more[open]")];
  document.addEventListener("keydown", (event) => {
    const menu = event.key === "Escape" && opened().at(-1);
    if (!menu) return;
    menu.open = false;
    menu.querySelector("summary").focus();
  });
  document.addEventListener("click", (event) => {
    for (const menu of opened()) if (!menu.contains(event.target)) menu.open = false;
  });

  // what was written and not taken stands again on the page that it was written on, after signing in: for an hour
  const KEPT = "foveal-typed", KEPT_MS = 3_600_000;
  const refused = document.querySelector("[data-typed] form");
  const offer = (kept) => {
    const found = kept.fields
      .map(([name, text]) => [document.querySelector(`main form[method="post"] textarea[name="${CSS.escape(name)}"]:not([readonly])`), text])
      .filter(([field]) => field && !field.value.trim());
    for (const [field, text] of found) field.value = text;
    if (!found.length) return;
    localStorage.removeItem(KEPT);
    const said = document.createElement("p");
    said.className = "notice";
    said.setAttribute("role", "status");
    said.textContent = "What you wrote before is here again.";
    found[0][0].closest("form").before(said);
  };
  try {
    if (refused) {
      const fields = [...refused.querySelectorAll("textarea")].map((field) => [field.name, field.value]);
      localStorage.setItem(KEPT, JSON.stringify({ at: Date.now(), page: refused.parentElement.dataset.typed, fields }));
      refused.addEventListener("submit", () => localStorage.removeItem(KEPT));
    }
    const kept = JSON.parse(localStorage.getItem(KEPT));
    if (kept && Date.now() - kept.at > KEPT_MS) localStorage.removeItem(KEPT);
    else if (kept && !refused && kept.page === location.pathname) offer(kept);
  } catch { /* nothing is kept in this browser, or not by us */ }

  // "/" goes to where one searches or asks
  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest("input, textarea, select, [contenteditable]");
    if (event.key !== "/" || typing || event.ctrlKey || event.metaKey || event.altKey) return;
    const field = document.querySelector("#q, #question");
    if (field) { event.preventDefault(); field.focus(); field.select(); }
  });

  // forms carry the token in a field; requests of HTMX in a header
  document.body.addEventListener("htmx:configRequest", (event) => {
    event.detail.headers["X-Foveal-Token"] = document.body.dataset.token;
  });

  // what went wrong with a part of the page is said at its top, as the whole page would have said it, until one comes
  const tell = (text) => {
    const told = document.querySelector(".told") ?? document.createElement("p");
    told.className = "notice bad told";
    told.setAttribute("role", "alert");
    told.textContent = text;
    document.querySelector("main").prepend(told);
    told.scrollIntoView({ block: "nearest" });
  };
  document.body.addEventListener("htmx:responseError", (event) => {
    const answer = new DOMParser().parseFromString(event.detail.xhr.responseText, "text/html");
    tell(answer.querySelector(".empty p, body > p")?.textContent ?? "That did not work. Load the page again.");
  });
  document.body.addEventListener("htmx:sendError", () => {
    tell("The server cannot be reached just now. Try that again in a moment.");
  });
  document.body.addEventListener("htmx:beforeSwap", (event) => {
    if (event.detail.xhr?.status < 300) document.querySelector(".told")?.remove();
  });
})();
