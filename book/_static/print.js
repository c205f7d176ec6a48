// On paper a page is light and nothing is folded; afterwards it is as it was.
(function () {
  const root = document.documentElement;
  let theme, folded;
  window.addEventListener("beforeprint", function () {
    theme = root.dataset.theme;
    root.dataset.theme = "light";
    folded = [...document.querySelectorAll(".bd-article details:not([open])")];
    folded.forEach((part) => { part.open = true; });
  });
  window.addEventListener("afterprint", function () {
    root.dataset.theme = theme;
    folded.forEach((part) => { part.open = false; });
  });
})();
