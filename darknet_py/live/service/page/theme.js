// Light or dark: as the system says, or as chosen here. A classic script in the head, so that the first paint is right.
(() => {
  const root = document.documentElement;
  const words = { auto: "as the system", light: "light", dark: "dark" };
  const stored = () => {
    try {
      return localStorage.getItem("theme");
    } catch {
      return null;                                              // storage is blocked
    }
  };
  const apply = (theme) => {
    root.dataset.theme = theme in words ? theme : "auto";
    const button = document.getElementById("theme");
    if (button) button.setAttribute("aria-label", `Colours: ${words[root.dataset.theme]}`);
    if (button) button.title = `Colours: ${words[root.dataset.theme]}`;
  };
  apply(stored());
  document.addEventListener("DOMContentLoaded", () => {
    apply(root.dataset.theme);
    document.getElementById("theme").addEventListener("click", () => {
      const themes = Object.keys(words);
      apply(themes[(themes.indexOf(root.dataset.theme) + 1) % themes.length]);
      try {
        localStorage.setItem("theme", root.dataset.theme);
      } catch { /* it holds until the page is closed */ }
    });
  });
})();
