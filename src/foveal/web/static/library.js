// The library's pages with JavaScript: files can be dropped, sizes are checked before they are sent, and a place in a
// text is found whichever part it lies in.
(() => {
  const form = document.querySelector("[data-add]");
  if (form) {
    const zone = form.querySelector("[data-drop]"), input = form.querySelector('input[type="file"]');
    const chosen = form.querySelector("[data-chosen]"), wrong = form.querySelector("[data-add-wrong]");
    const button = form.querySelector('button[type="submit"]');
    const most = Number(form.dataset.most) * 2 ** 20;
    const size = (bytes) => (bytes < 2 ** 20 ? `${Math.max(1, Math.round(bytes / 1024))} KB` : `${(bytes / 2 ** 20).toFixed(1)} MB`);
    const complain = (text) => { wrong.textContent = text; wrong.hidden = !text; };

    form.querySelector("[data-drop-hint]").hidden = false;
    let tooLarge = false;
    const show = () => {
      const files = [...input.files];
      chosen.replaceChildren(...files.map((file) => {
        const item = document.createElement("li");
        item.textContent = `${file.name} · ${size(file.size)}`;
        return item;
      }));
      const sum = files.reduce((all, file) => all + file.size, 0);
      tooLarge = sum > most;
      complain(tooLarge ? `These files have ${size(sum)} together; at most ${size(most)} are taken at once.` : "");
    };
    input.addEventListener("change", show);
    for (const kind of ["dragenter", "dragover"])
      zone.addEventListener(kind, (event) => { event.preventDefault(); zone.classList.add("over"); });
    for (const kind of ["dragleave", "drop"]) zone.addEventListener(kind, () => zone.classList.remove("over"));
    zone.addEventListener("drop", (event) => {
      event.preventDefault();
      if (!event.dataTransfer.files.length) return;
      input.files = event.dataTransfer.files;
      show();
      button.focus();
    });
    form.addEventListener("submit", (event) => {
      if (!input.files.length && !form.querySelector("textarea").value.trim()) {
        event.preventDefault();
        complain("Choose a file, or paste a URL, an arXiv id or a text.");
      } else if (tooLarge) {
        event.preventDefault();
      } else {
        button.disabled = true;
        button.textContent = "Sending …";
      }
    });
    addEventListener("pageshow", () => { button.disabled = false; button.textContent = "Add"; });
  }

  for (const grades of document.querySelectorAll("[data-grades]"))
    grades.addEventListener("submit", async (event) => {
      event.preventDefault(); // the page stays as it is: no need to search again
      const pressed = event.submitter;
      if (grades.ariaBusy === "true") return; // one grade at a time, or the one kept may not be the one shown
      grades.ariaBusy = "true";
      const body = new FormData(grades, pressed);
      try {
        const answer = await fetch(grades.action, { method: "POST", body, redirect: "manual" });
        if (answer.type !== "opaqueredirect") throw new Error(answer.statusText);
        for (const button of grades.querySelectorAll("button")) button.setAttribute("aria-pressed", String(button === pressed));
      } catch {
        const grade = Object.assign(document.createElement("input"), { type: "hidden", name: "grade", value: pressed.value });
        grades.append(grade);
        grades.submit(); // the server says what is wrong
      } finally {
        grades.ariaBusy = "false";
      }
    });

  const outline = document.querySelector("[data-outline]");
  if (outline && location.hash !== "#contents" && matchMedia("(max-width: 900px)").matches) outline.open = false;

  const place = /^#c-(\d+)-(\d+)$/.exec(location.hash);
  const mark = place && document.getElementById(location.hash.slice(1));
  if (mark) mark.focus({ preventScroll: true });
  else if (place && !location.search.includes("span=")) {
    const query = new URLSearchParams(location.search);
    query.delete("part");
    query.set("span", `${place[1]}-${place[2]}`);
    location.replace(`${location.pathname}?${query}${location.hash}`);
  }
})();
