// Asks each second for the part of the page that changes, and replaces the sections that did.
"use strict";

const main = document.querySelector("main");
const state = document.querySelector("#state");

function replaceChanged(html) {
  const fresh = new DOMParser().parseFromString(html, "text/html").body;
  for (const section of [...fresh.children]) {
    const old = document.getElementById(section.id);
    if (old === null) {
      main.replaceChildren(...fresh.children);
      return;
    }
    if (old.outerHTML !== section.outerHTML) old.replaceWith(section);
  }
}

async function look() {
  if (!document.hidden) {
    try {
      const answer = await fetch("/live", { cache: "no-store", signal: AbortSignal.timeout(5000) });
      if (!answer.ok) throw new Error(answer.statusText);
      replaceChanged(await answer.text());
      state.textContent = "live";
      state.className = "pill good";
    } catch {
      state.textContent = "no answer";
      state.className = "pill bad";
    }
  }
  setTimeout(look, 1000);
}

look();
