// A page of a job, kept up to date by its events. Whatever is more than a word or a number comes from the page itself.
(() => {
  const job = () => document.getElementById("job");
  if (!job()?.dataset.events || !window.EventSource) return;

  const live = (name) => document.querySelector(`#job [data-live="${name}"]`);
  const status = document.getElementById("said");
  let spoken = 0;

  const say = (text, now) => {  // for people who listen: not every step
    if (!now && Date.now() - spoken < 5000) return;
    spoken = Date.now();
    status.textContent = text;
  };

  const renew = async (id) => {
    try {
      const answer = await fetch(location.pathname, { headers: { Accept: "text/html" } });
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

  const source = new EventSource(`${job().dataset.events}?after=${job().dataset.after}`);
  const on = (kind, act) => source.addEventListener(kind, (event) => act(JSON.parse(event.data)));

  on("progress", ({ text, done, total }) => {
    const bar = live("bar");
    if (live("text")) live("text").textContent = text;
    if (bar && total) { bar.max = total; bar.value = done; } else bar?.removeAttribute("value");
    say(text, false);
  });
  on("words", ({ text }) => live("words")?.append(text));
  on("look", ({ part }) => renew(part));
  on("again", () => renew("job"));
  on("end", async ({ state }) => {
    source.close();
    if (!(await renew("job"))) location.reload();
    say({ done: "Done. The result is on the page.", failed: "That did not work.", cancelled: "Cancelled." }[state], true);
  });
})();
