"use strict";
// The contact sheet: the same content and style for every run, chosen by sliders, beside each other or in turn.

const sheet = { run: 0, step: 0, view: "side", beside: "chosen", zoom: 1, x: 0.5, y: 0.5, turn: 0, timer: null };
const allSteps = [...new Set(report.sheet.cells.flatMap((cells) => Object.keys(cells).map(Number)))].sort((a, b) => a - b);
const hasPictures = (run) => Object.keys(report.sheet.cells[run]).length > 0;
const stillness = matchMedia("(prefers-reduced-motion: reduce)");
const sliderKeys = report.keys.map((key, index) => ({ ...key, index })).filter((key) => key.values.length > 1);

const observer = new IntersectionObserver((entries) => {
  for (const { isIntersecting, target } of entries) {
    if (isIntersecting) { target.src = address(Number(target.dataset.picture)); observer.unobserve(target); }
  }
}, { rootMargin: "400px" });

/** An image that is decoded when it comes near to what is seen. */
function picture(number, alt) {
  const { side } = report.sheet;
  const image = element("img", { "data-picture": number, alt, width: side, height: side, draggable: "false" });
  if (addresses.has(number)) image.src = address(number);
  else observer.observe(image);
  return image;
}

function cell(number, alt, tag = "td") {
  const shown = number === null || number === undefined
    ? element("span", { class: "none" }, "no picture") : picture(number, alt);
  return element(tag, { class: "cell" }, element("div", {}, shown));
}

const numberAt = (run, pair) => report.sheet.cells[run][stepShown(run, sheet.step)]?.[pair];
const altOf = (run, pair) => `${report.sheet.pairs[pair].caption}, pair ${pair + 1}, ${runLabel(run)}, step ${stepShown(run, sheet.step) ?? "none"}`;

/** The run that has a value of one key and is nearest to the current run in the others; runs with pictures first. */
function nearestRun(key, value) {
  const current = report.runs[sheet.run].settings;
  const place = (one, text) => one.values.indexOf(text) / (one.values.length - 1);
  const distance = (run) => sliderKeys.filter((one) => one !== key)
    .reduce((sum, one) => sum + Math.abs(place(one, report.runs[run].settings[one.index]) - place(one, current[one.index])) + (report.runs[run].settings[one.index] !== current[one.index] ? 1 : 0), hasPictures(run) ? 0 : 1000);
  return report.runs.map((_, run) => run).filter((run) => report.runs[run].settings[key.index] === value)
    .sort((a, b) => distance(a) - distance(b))[0];
}

function slider(id, label, values, onchange) {
  const text = (place) => values[place];
  const output = element("b", { "aria-hidden": "true" });  // the slider says its value itself
  const input = element("input", { type: "range", id, min: 0, max: values.length - 1, step: 1, oninput: () => onchange(Number(input.value)) });
  const set = (place) => { input.value = place; output.textContent = text(place); input.setAttribute("aria-valuetext", text(place)); };
  return { box: element("div", { class: "slider" }, element("label", { for: id, title: label }, label), output, input), set };
}

const sliders = new Map();
const ZOOMS = [1, 1.5, 2, 3, 4, 6, 8];

function makeSliders() {
  for (const key of sliderKeys) {
    sliders.set(key.name, slider(`slider-${key.index}`, key.name, key.values, (place) => showRun(nearestRun(key, key.values[place]))));
  }
  if (allSteps.length > 1) {
    sliders.set("step", slider("slider-step", "training step", allSteps.map((step) => step.toLocaleString("en")), (place) => { sheet.step = allSteps[place]; drawSheet(); }));
  }
  sliders.set("zoom", slider("slider-zoom", "magnification", ZOOMS.map((zoom) => `${zoom}×`), (place) => { sheet.zoom = ZOOMS[place]; magnify(); }));
  byId("sliders").append(...[...sliders.values()].map(({ box }) => box));
}

function showRun(run) {
  sheet.run = run;
  drawSheet();
  if (sheet.view === "all") byId("cells").querySelector("tr.current")?.scrollIntoView({ block: "nearest" });
}

/** The runs that are shown: the one of the sliders, then those beside it. */
function shownRuns() {
  const beside = sheet.beside === "chosen"
    ? choice.chosen.slice(0, COLOURS).map((configuration) => report.configurations[configuration].counted[0])
    : sheet.beside === "none" ? [] : [Number(sheet.beside)];
  return [sheet.run, ...beside.filter((run) => run !== sheet.run)];
}

/** A text that a narrow column rather breaks behind = and _ than within a name. */
const breakable = (text) => text.split(/(?<=[=_])/).flatMap((part, index) => index ? [element("wbr"), part] : [part]);

function runHeading(run) {
  const step = stepShown(run, sheet.step);
  const state = report.runs[run].state === "done" ? "" : `, ${report.runs[run].state}`;
  const words = runLabel(run).split(", ").map((word, index, all) => element("span", {}, ...breakable(index < all.length - 1 ? `${word},\u00a0` : word)));
  return [element("b", {}, colourOf(configurationOfRun[run]) ? swatch(configurationOfRun[run]) : null, ...words),
    step === undefined ? `no pictures yet${state}` : `step ${step.toLocaleString("en")}${state}`];
}

function drawSheet() {
  for (const key of sliderKeys) sliders.get(key.name).set(key.values.indexOf(report.runs[sheet.run].settings[key.index]));
  sliders.get("step")?.set(allSteps.indexOf(sheet.step));
  const cells = byId("cells");
  const isNarrow = innerWidth < 800 && sheet.view !== "all";
  cells.classList.toggle("all", sheet.view === "all");
  cells.classList.toggle("runs", !isNarrow);
  byId("sheet-parts").classList.toggle("flickers", sheet.view === "flicker");
  byId("beside-field").hidden = byId("pin").hidden = sheet.view === "all";
  for (const image of cells.querySelectorAll("img:not([src])")) observer.unobserve(image);
  const others = shownRuns();
  const runs = { all: report.runs.map((_, run) => run), side: others, flicker: [others[sheet.turn % others.length]] }[sheet.view];
  const place = [cells.scrollLeft, cells.scrollTop];
  cells.replaceChildren(isNarrow ? tableOfPairs(runs) : tableOfRuns(runs));
  [cells.scrollLeft, cells.scrollTop] = place;
  sizeCells();
  const turn = sheet.view === "flicker" ? ` Shown: ${sheet.turn % others.length + 1} of ${others.length}.` : "";
  byId("sheet-status").textContent = `${runLabel(sheet.run)}, step ${sheet.step.toLocaleString("en")}.${sheet.timer ? "" : turn}`;
}

/** Rows are pairs: what went in, then a column for each run. For narrow screens. */
function tableOfPairs(runs) {
  const captions = Object.keys(report.sheet.pairs[0].inputs);
  const head = element("tr", {}, ...captions.map((caption) => element("th", { scope: "col" }, caption)),
    ...runs.map((run) => element("th", { scope: "col" }, ...runHeading(run))));
  const rows = report.sheet.pairs.map((pair, index) => element("tr", {},
    ...captions.map((caption) => cell(pair.inputs[caption], `${caption}, pair ${index + 1}`)),
    ...runs.map((run) => cell(numberAt(run, index), altOf(run, index)))));
  return element("table", {}, element("thead", {}, head), element("tbody", {}, ...rows));
}

/** Rows are runs, below the pictures that went in. */
function tableOfRuns(runs) {
  const captions = Object.keys(report.sheet.pairs[0].inputs);
  const heads = captions.map((caption) => element("tr", {}, element("th", { scope: "row" }, caption),
    ...report.sheet.pairs.map((pair, index) => cell(pair.inputs[caption], `${caption}, pair ${index + 1}`))));
  const rows = runs.map((run) => element("tr", { class: run === sheet.run ? "current" : null },
    element("th", { scope: "row" }, element("button", { type: "button", "aria-pressed": String(run === sheet.run), onclick: () => showRun(run) }, ...runHeading(run))),
    ...report.sheet.pairs.map((_pair, index) => cell(numberAt(run, index), altOf(run, index)))));
  return element("table", {}, element("thead", {}, ...heads), element("tbody", {}, ...rows));
}

/** Cells as wide as there is room for, within limits. */
function sizeCells() {
  const cells = byId("cells");
  const columns = cells.querySelectorAll("tbody tr:first-child td").length;
  const heading = cells.querySelector("tbody th")?.getBoundingClientRect().width ?? 0;
  const room = (cells.clientWidth - 26 - heading) / columns - 5;
  cells.style.setProperty("--cell", `${Math.max(innerWidth < 640 ? 92 : 88, Math.min(192, Math.floor(room)))}px`);
}

/** All pictures show the same part of themselves. */
function magnify() {
  const { style, classList } = byId("cells");
  style.setProperty("--zoom", sheet.zoom);
  style.setProperty("--pan-x", sheet.x);
  style.setProperty("--pan-y", sheet.y);
  classList.toggle("magnified", sheet.zoom > 1);
  sliders.get("zoom").set(ZOOMS.indexOf(sheet.zoom));
}

function pan(x, y) {
  sheet.x = Math.max(0, Math.min(1, sheet.x + x));
  sheet.y = Math.max(0, Math.min(1, sheet.y + y));
  magnify();
}

function startMagnifying() {
  const cells = byId("cells");
  cells.addEventListener("dblclick", (event) => {
    const box = event.target.closest(".cell")?.getBoundingClientRect();
    if (!box) return;
    [sheet.x, sheet.y] = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
    sheet.zoom = sheet.zoom > 1 ? 1 : 4;
    magnify();
  });
  cells.addEventListener("pointerdown", (event) => {
    const box = event.target.closest(".cell");
    if (!box || sheet.zoom === 1) return;
    event.preventDefault();
    const { width, height } = box.getBoundingClientRect();
    let { clientX, clientY } = event;
    const move = (moved) => {
      pan((clientX - moved.clientX) / width / (sheet.zoom - 1), (clientY - moved.clientY) / height / (sheet.zoom - 1));
      ({ clientX, clientY } = moved);
    };
    const end = () => { removeEventListener("pointermove", move); removeEventListener("pointerup", end); removeEventListener("pointercancel", end); };
    addEventListener("pointermove", move);
    addEventListener("pointerup", end);
    addEventListener("pointercancel", end);
  });
  const arrows = { ArrowLeft: [-0.1, 0], ArrowRight: [0.1, 0], ArrowUp: [0, -0.1], ArrowDown: [0, 0.1] };
  cells.addEventListener("keydown", (event) => {
    if (sheet.zoom > 1 && event.target === cells && arrows[event.key]) { event.preventDefault(); pan(...arrows[event.key]); }
  });
}

function nextTurn() {
  sheet.turn += 1;
  drawSheet();
}

function play(wanted) {
  clearInterval(sheet.timer);
  sheet.timer = wanted ? setInterval(nextTurn, Number(byId("pace").value)) : null;
  byId("play").setAttribute("aria-pressed", String(wanted));
  byId("play").textContent = wanted ? "Pause" : "Play";
}

function listBeside() {
  const select = byId("beside");
  select.replaceChildren(
    element("option", { value: "chosen" }, `the ${plural(Math.min(COLOURS, choice.chosen.length), "chosen configuration")}`), element("option", { value: "none" }, "nothing"),
    ...report.runs.map((_, run) => element("option", { value: run }, runLabel(run))));
  select.value = sheet.beside;
}

function startSheet() {
  const isEmpty = !report.sheet.pairs.length;
  byId("no-pictures").hidden = !isEmpty;
  byId("sheet-parts").hidden = isEmpty;
  if (isEmpty) return;
  const first = plots.order.find((index) => plots.front[index] && hasPictures(report.configurations[index].counted[0]));
  sheet.run = first === undefined ? report.runs.findIndex((_, run) => hasPictures(run)) : report.configurations[first].counted[0];
  sheet.step = allSteps.at(-1);
  makeSliders();
  startMagnifying();
  for (const radio of byId("views").querySelectorAll("input")) {
    radio.addEventListener("change", () => { sheet.view = radio.value; play(sheet.view === "flicker" && !stillness.matches); drawSheet(); });
  }
  byId("beside").addEventListener("change", (event) => { sheet.beside = event.target.value; drawSheet(); });
  byId("pin").addEventListener("click", () => { sheet.beside = String(sheet.run); listBeside(); drawSheet(); });
  byId("play").addEventListener("click", () => play(!sheet.timer));
  byId("swap").addEventListener("click", () => { play(false); nextTurn(); });
  byId("pace").addEventListener("change", () => { if (sheet.timer) play(true); });
  stillness.addEventListener("change", () => { if (stillness.matches) play(false); });
  addEventListener("resize", drawSheet);
  choice.listeners.push(() => { listBeside(); drawSheet(); });
  listBeside();
  magnify();
  drawSheet();
}
