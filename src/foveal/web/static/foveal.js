// What pages gain with JavaScript; all of them work without it.
(() => {
  const root = document.documentElement;
  const dark = () => (root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches);

  for (const button of document.querySelectorAll("[data-theme-switch]")) {
    button.hidden = false;
    button.addEventListener("click", () => {
      root.dataset.theme = dark() ? "light" : "dark";
      try { localStorage.setItem("foveal-theme", root.dataset.theme); } catch { /* holds for this page */ }
    });
  }

  // forms carry the token in a field; requests of HTMX in a header
  document.body.addEventListener("htmx:configRequest", (event) => {
    event.detail.headers["X-Foveal-Token"] = document.body.dataset.token;
  });

  // what went wrong with a part of the page is said at its top, as the whole page would have said it
  document.body.addEventListener("htmx:responseError", (event) => {
    const answer = new DOMParser().parseFromString(event.detail.xhr.responseText, "text/html");
    const told = document.querySelector(".told") ?? document.createElement("p");
    told.className = "notice bad told";
    told.setAttribute("role", "alert");
    told.textContent = answer.querySelector(".empty p")?.textContent ?? "That did not work. Load the page again.";
    document.querySelector("main").prepend(told);
    told.scrollIntoView({ block: "nearest" });
  });
})();
