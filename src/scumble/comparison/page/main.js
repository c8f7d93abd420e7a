"use strict";
// The beginning of the page, and what its parts have in common.

const START_WITH = 4;

function startHeader() {
  const seeds = new Set(seedKey < 0 ? [] : report.runs.map((run) => run.settings[seedKey]));
  const keys = settingKeys.map((key) => [element("b", {}, key.name), ", "]).flat().slice(0, -1);
  byId("summary").append(
    `${plural(report.runs.length, "run")}`,
    report.configurations.length < report.runs.length ? `, ${plural(report.configurations.length, "configuration")}` : "",
    seeds.size > 1 ? `, ${plural(seeds.size, "seed")}` : "",
    keys.length ? ". They differ in " : ". They differ in nothing but the seed", ...keys, ".",
  );
  byId("notes").hidden = !report.notes.length;
  byId("notes").firstElementChild.textContent = plural(report.notes.length, "note") + " on what is missing or left out";
  byId("notes").lastElementChild.append(...report.notes.map(({ what, runs }) =>
    element("li", {}, runs.length ? `${what} (${plural(runs.length, "run")})` : what, runs.length ? element("span", {}, runs.join(" · ")) : null)));
}

/** A few configurations, spread along the front. */
function firstChoice() {
  const front = plots.order.filter((index) => plots.front[index]);
  if (front.length <= START_WITH) return front;
  return Array.from({ length: START_WITH }, (_, place) => front[Math.round((place * (front.length - 1)) / (START_WITH - 1))]);
}

startHeader();
startPlots();
choice.chosen = firstChoice();
const replicated = report.configurations.map((one) => one.counted.length).filter((count) => count > 1);
spread.kind = replicated.length && Math.min(...replicated) < 3 ? "deviation" : "interval";
byId("spread").value = spread.kind;
byId("spread").addEventListener("change", (event) => { spread.kind = event.target.value; redrawTable(); redrawPlots("front-plot"); });
startTable();
startSheet();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => redrawPlots());
addEventListener("keydown", (event) => { if (event.key === "Escape") hideCard(); });
