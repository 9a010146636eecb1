// A page of a job, kept up to date by its events. Whatever is more than a word or a number comes from the page itself.
(() => {
  const job = () => document.getElementById("job");
  if (!job()?.dataset.events || !window.EventSource) return;

  const AGAIN_MS = 3000;
  const live = (name) => document.querySelector(`#job [data-live="${name}"]`);
  const status = document.getElementById("said");
  let spoken = 0, before = null;  // what was shown before the connection broke off

  const say = (text, now) => {  // for people who listen: not every step
    if (!now && Date.now() - spoken < 5000) return;
    spoken = Date.now();
    status.textContent = text;
  };

  const renew = async (id) => {
    try {
      const answer = await fetch(location.pathname, { headers: { Accept: "text/html" } });
      if (answer.status === 404) location.reload();  // it is not kept any more, and the page says so
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const fresh = page.getElementById(id), old = document.getElementById(id);
      if (!answer.ok || !fresh || !old) return false;
      const focused = old.contains(document.activeElement);
      old.replaceWith(fresh);
      if (focused) fresh.querySelector(".answer, h1")?.focus();
      document.title = page.title;
      return true;
    } catch {
      return false;  // the server went away: the next event, or a reload, tells
    }
  };

  const acts = {
    progress({ text, done, total }) {
      const bar = live("bar");
      if (live("text")) live("text").textContent = text;
      before = null;
      if (bar && total) { bar.max = total; bar.value = done; } else bar?.removeAttribute("value");
      say(text, false);
    },
    words({ text }) { live("words")?.append(text); },
    look({ part }) { renew(part); },
    again() { renew("job"); },
    async end({ state }, source) {
      source.close();
      if (!(await renew("job"))) location.reload();
      const said = { done: "Done. The result is on the page.", failed: "That did not work.", cancelled: "Cancelled." };
      say(said[state], true);
    },
  };

  const listen = () => {
    const source = new EventSource(`${job().dataset.events}?after=${job().dataset.after}`);
    for (const [kind, act] of Object.entries(acts))
      source.addEventListener(kind, (event) => act(JSON.parse(event.data), source));
    source.addEventListener("open", () => {
      if (before !== null && live("text")) live("text").textContent = before;
      before = null;
    });
    source.addEventListener("error", () => {
      if (live("text")) {
        before ??= live("text").textContent;
        live("text").textContent = "The server does not answer just now; this page keeps asking.";
      }
      if (source.readyState === EventSource.CLOSED) setTimeout(comeBack, AGAIN_MS);  // refused: a browser does not
    });
  };
  const comeBack = async () => {
    if (!(await renew("job"))) setTimeout(comeBack, AGAIN_MS);
    else if (job().dataset.events) listen();
  };
  listen();
})();
