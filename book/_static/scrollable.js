// What scrolls sideways on this screen can be reached, and so scrolled, from the keyboard.
(function () {
  function mark() {
    document.querySelectorAll(".cell_output, table.table, div.math, math:not([display]), pre").forEach(function (part) {
      if (part.scrollWidth > part.clientWidth) part.tabIndex = 0;
      else part.removeAttribute("tabindex");
    });
  }
  window.addEventListener("load", mark);
  window.addEventListener("resize", mark);
})();
