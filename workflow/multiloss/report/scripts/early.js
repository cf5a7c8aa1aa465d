"use strict";
// Before the page is drawn: that there is a script, and the colours and the print that were asked for.
(() => {
  const root = document.documentElement;
  root.classList.add("js");
  if (new URLSearchParams(location.search).get("print") === "all") root.classList.add("print-all");
  try {
    const theme = localStorage.getItem("multiloss-theme");
    if (theme) root.dataset.theme = theme;
  } catch {
    // A browser may keep nothing for files.
  }
})();
