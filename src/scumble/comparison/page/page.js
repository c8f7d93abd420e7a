"use strict";
// What all parts of the page share: the content, the choice of configurations with their colours, text and pictures.

const report = JSON.parse(document.getElementById("content").textContent);
const pictureData = JSON.parse(document.getElementById("picture-data").textContent);
const COLOURS = 8;
const SEED = "seed";
const seedKey = report.keys.findIndex((key) => key.name === SEED);
const settingKeys = report.keys.filter((key) => key.name !== SEED);
const byId = (id) => document.getElementById(id);

// The configurations that are chosen, in the order of their colours; whoever shows them listens.
const choice = { chosen: [], listeners: [] };

function choose(configurations) {
  choice.chosen = [...new Set(configurations)];
  for (const listener of choice.listeners) listener();
}

function toggle(configuration) {
  const others = choice.chosen.filter((one) => one !== configuration);
  choose(others.length < choice.chosen.length ? others : [...others, configuration]);
}

/** The colour of a configuration as CSS; undefined if it is not chosen. */
function colourOf(configuration) {
  const place = choice.chosen.indexOf(configuration);
  if (place < 0) return undefined;
  return place < COLOURS ? `var(--c${place})` : "var(--soft)";
}

/** A value of the style sheet, for what is drawn without it. */
function css(value) {
  const name = /^var\((.*)\)$/.exec(value)?.[1] ?? value;
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== undefined && value !== null) made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

function swatch(configuration) {
  const colour = colourOf(configuration);
  return element("span", { class: "swatch", "aria-hidden": "true", style: colour ? `--swatch: ${colour}` : null });
}

// Names. A key is shown by its last words, as few as tell it from the others.

const shortNames = new Map();
for (const { name } of report.keys) {
  const words = name.split(".");
  let count = 1;
  const ending = (other, length) => other.split(".").slice(-length).join(".");
  while (count < words.length && report.keys.some((key) => key.name !== name && ending(key.name, count) === ending(name, count))) count += 1;
  shortNames.set(name, ending(name, count));
}

const settingsText = (keys, settings) => keys.map((key, index) => `${shortNames.get(key.name)}=${settings[index]}`).join(", ");

function configurationLabel(index) {
  const configuration = report.configurations[index];
  if (settingKeys.length) return settingsText(settingKeys, configuration.settings);
  return report.configurations.length > 1 ? report.runs[configuration.runs[0]].name : "the one configuration";
}

function runLabel(index) {
  const run = report.runs[index];
  return report.keys.length ? settingsText(report.keys, run.settings) : run.name;
}

const configurationOfRun = [];
report.configurations.forEach((configuration, index) => configuration.runs.forEach((run) => { configurationOfRun[run] = index; }));

const plural = (count, word) => `${count.toLocaleString("en")} ${word}${count === 1 ? "" : "s"}`;

// Numbers: all of a metric with the same decimals, so that they stand in line.

const decimals = report.metrics.map((_, metric) => {
  const sizes = report.configurations
    .map((configuration) => configuration.metrics[metric]?.[0])
    .filter((value) => value !== null && value !== undefined && value !== 0)
    .map((value) => Math.floor(Math.log10(Math.abs(value))))
    .sort((a, b) => a - b);
  const typical = sizes.length ? sizes[Math.floor(sizes.length / 2)] : 0;
  return Math.max(0, Math.min(6, 3 - typical));
});

const formatted = (value, metric) => (value === null ? "not finite" : value.toFixed(decimals[metric]));

const spread = { kind: "deviation" };

/** How far the mean of a configuration may be off, as [below, above], or null. */
function errorOf(estimate) {
  if (!estimate) return null;
  const [mean, , deviation, low, high] = estimate;
  if (mean === null) return null;
  if (spread.kind === "deviation") return deviation === null ? null : [deviation, deviation];
  return low === null || high === null ? null : [mean - low, high - mean];
}

function spreadText(estimate, metric) {
  const error = errorOf(estimate);
  if (!error) return "";
  if (spread.kind === "deviation") return `± ${error[0].toFixed(decimals[metric])}`;
  return `[${(estimate[0] - error[0]).toFixed(decimals[metric])}, ${(estimate[0] + error[1]).toFixed(decimals[metric])}]`;
}

// Pictures: decoded from the page when they are first shown.

const addresses = new Map();

function address(picture) {
  if (!addresses.has(picture)) {
    const bytes = Uint8Array.from(atob(pictureData[picture]), (character) => character.charCodeAt(0));
    addresses.set(picture, URL.createObjectURL(new Blob([bytes], { type: "image/webp" })));
  }
  return addresses.get(picture);
}

/** The step whose pictures of a run are shown at a step: the last one that is not later; undefined if there is none. */
function stepShown(run, step) {
  return Object.keys(report.sheet.cells[run]).map(Number).filter((one) => one <= step).sort((a, b) => b - a)[0];
}

// The card that shows what is below the pointer.

function showCard(configuration, x, y, run = report.configurations[configuration].counted[0]) {
  const card = byId("card");
  const cells = report.sheet.cells[run][stepShown(run, Infinity)] ?? [];
  const rows = report.sheet.pairs.slice(0, 3).map((pair, index) => {
    const shown = [...Object.values(pair.inputs), cells[index]].filter((picture) => picture !== null && picture !== undefined);
    return element("div", {}, ...shown.map((picture) => element("img", { src: address(picture), alt: "" })));
  });
  const metrics = [plots.x, plots.y].map((metric) => {
    const estimate = report.configurations[configuration].metrics[metric];
    return estimate ? element("div", {}, `${report.metrics[metric].name}  ${formatted(estimate[0], metric)} ${spreadText(estimate, metric)}`) : null;
  });
  card.replaceChildren(
    element("b", {}, configurationLabel(configuration)), ...metrics.filter(Boolean),
    ...(cells.length ? [element("div", { class: "rows" }, ...rows)] : [element("div", {}, "no pictures")]),
  );
  card.hidden = false;
  const { width, height } = card.getBoundingClientRect();
  const left = x + 18 + width > innerWidth ? Math.max(8, x - 18 - width) : x + 18;
  card.style.left = `${left}px`;
  card.style.top = `${Math.max(8, Math.min(y - height / 2, innerHeight - height - 8))}px`;
}

function hideCard() {
  byId("card").hidden = true;
}
