"use strict";

// Keeps the queue up to date while it is looked at. Nothing needs it: the page has a link that
// does the same.
(() => {
  const status = () => document.getElementById("live");
  if (!status() || !window.EventSource) return;

  // The only markup that is ever parsed is our own page, fetched again.
  const policy = window.trustedTypes
    ? window.trustedTypes.createPolicy("live", { createHTML: (text) => text })
    : { createHTML: (text) => text };

  const replaceQueue = async () => {
    const answer = await fetch("/?live=1", { credentials: "same-origin", redirect: "error" });
    if (!answer.ok) return;
    const page = new DOMParser().parseFromString(
      policy.createHTML(await answer.text()), "text/html");
    const lines = page.getElementById("lines");
    const count = page.getElementById("live");
    if (!lines || !count) return;
    const focused = document.activeElement && document.activeElement.getAttribute("href");
    document.getElementById("lines").replaceChildren(...lines.childNodes);
    status().dataset.fingerprint = count.dataset.fingerprint;
    status().textContent = count.textContent;
    document.title = page.title;
    const same = focused && document.querySelector(`#lines a[href="${CSS.escape(focused)}"]`);
    if (same) same.focus();
  };

  const events = new EventSource(status().dataset.events);
  events.addEventListener("queue", (event) => {
    if (event.data !== status().dataset.fingerprint) replaceQueue().catch(() => {});
  });
  window.addEventListener("pagehide", () => events.close());
})();
