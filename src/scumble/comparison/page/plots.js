"use strict";
// The plots. What is chosen has its colour in all of them; everything else is one grey trace, so that many runs are quick.

const [objectiveX, objectiveY] = report.objectives.map((name) => report.metrics.findIndex((metric) => metric.name === name));
const plots = { x: objectiveX, y: objectiveY, front: [], order: [], curve: "", drawn: new Set() };
const touch = matchMedia("(pointer: coarse)");

const meanOf = (configuration, metric) => report.configurations[configuration].metrics[metric]?.[0] ?? null;
const isPlotted = (configuration) => meanOf(configuration, plots.x) !== null && meanOf(configuration, plots.y) !== null;

/** Marks the configurations that no other beats in one objective without losing in the other. */
function findFront() {
  const cost = (configuration, metric) => (report.metrics[metric].higher ? -1 : 1) * meanOf(configuration, metric);
  const indices = report.configurations.map((_, index) => index).filter(isPlotted);
  const points = new Map(indices.map((index) => [index, [cost(index, plots.x), cost(index, plots.y)]]));
  const dominates = ([a, b], [c, d]) => a <= c && b <= d && (a < c || b < d);
  plots.front = report.configurations.map((_, index) => points.has(index)
    && !indices.some((other) => dominates(points.get(other), points.get(index))));
  plots.order = indices.sort((a, b) => points.get(a)[0] - points.get(b)[0]);
}

function layout(more) {
  const axis = (options) => ({
    gridcolor: css("--line"), zeroline: false, linecolor: css("--line"), tickcolor: css("--line"), automargin: true,
    ...options, title: { text: options.title, standoff: 12, font: { size: 13, color: css("--soft") } },
  });
  const { xaxis = {}, yaxis = {}, ...rest } = more;
  return {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", showlegend: false, hovermode: "closest",
    font: { family: css("--sans"), size: 12, color: css("--soft") }, margin: { l: 56, r: 16, t: 12, b: 48 },
    modebar: { bgcolor: "rgba(0,0,0,0)", color: css("--faint"), activecolor: css("--accent") },
    selections: [], ...rest, xaxis: axis(xaxis), yaxis: axis(yaxis),
  };
}

const CONFIG = {
  displaylogo: false, responsive: true, showSendToCloud: false, plotlyServerURL: "",  // nothing leaves the page
  modeBarButtonsToRemove: ["lasso2d", "zoomIn2d", "zoomOut2d", "autoScale2d"],
};

/** Draws into a figure and, the first time, links its points to the card and to the choice. */
function draw(id, traces, options) {
  const place = byId(id);
  Plotly.react(place, traces, layout(options), CONFIG);
  if (plots.drawn.has(id)) return;
  plots.drawn.add(id);
  const configurationOf = (event) => event.points.find((point) => point.customdata !== undefined && point.customdata !== null)?.customdata;
  place.on("plotly_hover", (event) => {
    const found = configurationOf(event);
    if (found !== undefined) showCard(found, event.event.clientX, event.event.clientY);
  });
  place.on("plotly_unhover", hideCard);
  place.on("plotly_click", (event) => { const found = configurationOf(event); if (found !== undefined) toggle(found); });
  place.on("plotly_selected", (event) => {
    if (event?.points?.length) choose(event.points.map((point) => point.customdata).filter((one) => one !== undefined && one !== null));
  });
}

function metricTitle(metric) {
  const { name, higher } = report.metrics[metric];
  return `${name} (${higher ? "higher" : "lower"} is better)`;
}

function drawFront() {
  if (plots.x < 0 || plots.y < 0) {
    byId("front-plot").hidden = true;
    byId("front-summary").textContent = "There are not two metrics to trade off: no run has been validated yet.";
    return;
  }
  const indices = report.configurations.map((_, index) => index).filter(isPlotted);
  const points = (chosen, marker, name) => ({
    type: "scatter", mode: "markers", name, marker, hoverinfo: "none", customdata: chosen,
    x: chosen.map((index) => meanOf(index, plots.x)), y: chosen.map((index) => meanOf(index, plots.y)),
    error_x: errorBars(chosen, plots.x, marker.line?.color ?? marker.color), error_y: errorBars(chosen, plots.y, marker.line?.color ?? marker.color),
    selected: { marker: { opacity: 1 } }, unselected: { marker: { opacity: 1 } },
  });
  const isChosen = (index) => choice.chosen.includes(index);
  const onFront = plots.order.filter((index) => plots.front[index]);
  const strengths = strengthLines();
  const traces = [
    ...strengthTraces(strengths),
    { type: "scatter", mode: "lines", hoverinfo: "skip", line: { color: css("--faint"), width: 1.5, dash: "dot", shape: "linear" },
      x: onFront.map((index) => meanOf(index, plots.x)), y: onFront.map((index) => meanOf(index, plots.y)) },
    points(indices.filter((index) => !plots.front[index] && !isChosen(index)), { size: 8, color: css("--paper"), line: { color: css("--faint"), width: 1.5 } }, "dominated"),
    points(onFront.filter((index) => !isChosen(index)), { size: 10, symbol: "diamond", color: css("--soft") }, "front"),
    ...choice.chosen.filter(isPlotted).map((index) => points([index], {
      size: plots.front[index] ? 14 : 11, symbol: plots.front[index] ? "diamond" : "circle", color: css(colourOf(index)),
    }, "chosen")),
  ];
  draw("front-plot", traces, {
    dragmode: touch.matches ? false : "select", xaxis: { title: metricTitle(plots.x) }, yaxis: { title: metricTitle(plots.y) },
  });
  const without = report.configurations.length - indices.length;
  const bars = indices.some((index) => errorOf(report.configurations[index].metrics[plots.x]))
    ? ` Bars: ${spread.kind === "deviation" ? "standard deviation over seeds" : "95 % interval of the mean"}.` : "";
  byId("front-summary").textContent = `${plural(indices.length, "configuration")} by ${report.metrics[plots.x].name} and ${report.metrics[plots.y].name}`
    + `${without ? `; ${without} without these metrics` : ""}.${strengthText(strengths)} ◆ ${plural(onFront.length, "configuration")} on the front: none other is better in one without being worse in the other.${bars}`
    + " Point at one to see its pictures; click, or draw a box, to choose.";
  byId("front-list").replaceChildren(...onFront.map((index) => {
    const show = (event) => { const box = event.currentTarget.getBoundingClientRect(); showCard(index, box.right, box.top); };
    return element("button", {
      type: "button", "aria-pressed": String(isChosen(index)), onclick: () => { toggle(index); hideCard(); },
      onpointerenter: show, onpointerleave: hideCard, onfocus: show, onblur: hideCard,
    }, configurationLabel(index), isChosen(index) ? swatch(index) : null);
  }));
}

/** A line for each configuration through its strengths, where both metrics are known at two of them or more. */
function strengthLines() {
  const mean = ({ metrics }, metric) => metrics[metric]?.[0] ?? null;
  return report.configurations.map(({ strengths }, configuration) => {
    const known = strengths.filter((one) => mean(one, plots.x) !== null && mean(one, plots.y) !== null);
    return {
      configuration, x: known.map((one) => mean(one, plots.x)), y: known.map((one) => mean(one, plots.y)),
      text: known.map((one) => String(one.strength)),
    };
  }).filter((line) => line.x.length > 1);
}

/** The lines, and the strengths of the chosen ones beside their points. */
function strengthTraces(lines) {
  if (!lines.length) return [];
  const labels = lines.filter((line) => choice.chosen.includes(line.configuration)).map(({ x, y, text, configuration }) => ({
    type: "scatter", mode: "text", hoverinfo: "skip", x, y, text, textposition: "top right",
    textfont: { size: 11, color: css(colourOf(configuration)) },
  }));
  return [...linesByChoice(lines, true), ...labels];
}

function strengthText(lines) {
  const count = report.configurations.filter(({ strengths }) => strengths.length > 1).length;
  if (lines.length) return ` A line joins the strengths of ${lines.length === 1 ? "one configuration" : `each of ${lines.length} configurations`}.`;
  return count ? ` ${plural(count, "configuration")} measured at several strengths under a protocol: choose its metrics to see the curve.` : "";
}

function errorBars(configurations, metric, color) {
  const errors = configurations.map((index) => errorOf(report.configurations[index].metrics[metric]) ?? [0, 0]);
  return {
    type: "data", symmetric: false, arrayminus: errors.map(([below]) => below), array: errors.map(([, above]) => above),
    visible: errors.some(([below, above]) => below || above), thickness: 1, width: 0, color,
  };
}

/** Lines that are broken where one ends and the next begins, as one trace. */
function joined(lines) {
  const trace = { x: [], y: [], customdata: [] };
  for (const { x, y, configuration } of lines) {
    trace.x.push(...x, null);
    trace.y.push(...y, null);
    trace.customdata.push(...x.map(() => configuration), null);
  }
  return trace;
}

/** A grey trace of all lines that are not chosen, and one in its colour for each that is. */
function linesByChoice(lines, markers) {
  const mode = markers ? "lines+markers" : "lines";
  const rest = lines.filter((line) => !choice.chosen.includes(line.configuration));
  const crowded = rest.length > 40 ? 0.35 : 0.6;
  const style = (color, width, opacity) => ({
    type: "scatter", mode, hoverinfo: "none", opacity, line: { color, width }, marker: { color, size: width + 3 },
    selected: { marker: { opacity: 1 } }, unselected: { marker: { opacity: 1 } },
  });
  return [
    { ...joined(rest), ...style(css("--faint"), 1, choice.chosen.length ? crowded : 0.8) },
    ...choice.chosen.map((index) => ({
      ...joined(lines.filter((line) => line.configuration === index)), ...style(css(colourOf(index)), 2, 1),
    })),
  ];
}

function drawCurves() {
  const curves = report.curves[plots.curve];
  if (!curves) {
    byId("curves-plot").hidden = true;
    byId("curves-summary").textContent = "No run has a metrics.csv with a metric in it.";
    return;
  }
  const lines = curves.map(([x, y], run) => ({ x, y, configuration: configurationOfRun[run] })).filter((line) => line.x.length);
  const few = lines.every((line) => line.x.length <= 12);
  draw("curves-plot", linesByChoice(lines, few), {
    dragmode: touch.matches ? false : "zoom", xaxis: { title: "step" },
    yaxis: { title: plots.curve, type: byId("logarithmic").checked ? "log" : "linear" },
  });
  const ends = lines.map((line) => line.y.at(-1)).filter((value) => value !== null);
  const range = ends.length ? `, at its last step from ${Math.min(...ends).toPrecision(4)} to ${Math.max(...ends).toPrecision(4)}` : "";
  byId("curves-summary").textContent = `${plots.curve} of ${plural(lines.length, "run")}${range}. A line for each run; those of the chosen configurations have their colours, one line for each seed.`;
}

/** The axes of the parallel coordinates: where a configuration stands on each, from 0 to 1, and the labels. */
function parallelAxes() {
  const settings = settingKeys.map((key, index) => {
    const place = scale(key.numbers, key.values.length);
    const ticks = key.values.length <= 9 ? key.values.map((text, value) => [place(value), text])
      : [[0, key.values[0]], [1, key.values.at(-1)]];
    return { name: shortNames.get(key.name), ticks, at: (configuration) => place(key.values.indexOf(report.configurations[configuration].settings[index])) };
  });
  const metrics = [...new Set([plots.x, plots.y])].filter((metric) => metric >= 0).map((metric) => {
    const values = report.configurations.map((_, index) => meanOf(index, metric)).filter((value) => value !== null);
    const [low, high] = [Math.min(...values), Math.max(...values)];
    const at = (value) => (high > low ? (value - low) / (high - low) : 0.5);
    return {
      name: split(report.metrics[metric].name)[1], ticks: values.length ? [[at(low), formatted(low, metric)], ...(high > low ? [[1, formatted(high, metric)]] : [])] : [],
      at: (configuration) => { const value = meanOf(configuration, metric); return value === null ? null : at(value); },
    };
  });
  return [...settings, ...metrics];
}

/** The place of the n-th value of a key: by its number, on a logarithmic scale if the values span it, or by its turn. */
function scale(numbers, count) {
  if (count === 1) return () => 0.5;
  if (!numbers) return (value) => value / (count - 1);
  const [low, high] = [numbers[0], numbers.at(-1)];
  const f = low > 0 && high / low >= 8 ? Math.log : (value) => value;
  return (value) => (f(numbers[value]) - f(low)) / (f(high) - f(low));
}

function drawSettings() {
  const axes = parallelAxes();
  if (!settingKeys.length) {
    byId("settings-plot").hidden = true;
    byId("settings-summary").textContent = "The runs differ in no setting but the seed.";
    return;
  }
  const lines = report.configurations.map((_, configuration) => {
    const y = axes.map((axis) => axis.at(configuration));
    return { x: y.map((_value, index) => index), y, configuration };
  });
  const text = (x, y, words, more = {}) => ({ x, y, text: clean(words), showarrow: false, font: { size: 11, color: css("--soft") }, ...more });
  const narrow = byId("settings-plot").clientWidth < 600;
  const annotations = axes.flatMap((axis, index) => [
    text(index, 1.04, axis.name, { yanchor: "bottom", textangle: narrow ? -30 : 0, xanchor: narrow ? "left" : "center", font: { size: 12, color: css("--ink") } }),
    ...axis.ticks.map(([place, words]) => text(index, place, words, { xanchor: "left", xshift: 7, bgcolor: css("--paper"), borderpad: 1 })),
  ]);
  draw("settings-plot", linesByChoice(lines, true), {
    dragmode: touch.matches ? false : "select", annotations, margin: { l: 20, r: narrow ? 84 : 60, t: narrow ? 90 : 40, b: 16 },
    xaxis: { range: [-0.1, axes.length - 0.75], showticklabels: false, showgrid: true, tickvals: axes.map((_, index) => index), gridcolor: css("--faint"), fixedrange: true },
    yaxis: { range: [-0.06, 1.06], visible: false, fixedrange: true },
  });
  byId("settings-summary").textContent = `A line for each of ${plural(lines.length, "configuration")}, through its ${plural(settingKeys.length, "setting")}`
    + " and its means of the two metrics of the trade-off. Draw a box on an axis to choose the configurations that go through it.";
}

/** Text for plotly, which reads some HTML. */
function clean(text) {
  return String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
}

// A plot is drawn when it comes near to what is seen, and again when the choice changes.

const PLOTS = { "front-plot": drawFront, "curves-plot": drawCurves, "settings-plot": drawSettings };
const seen = new Set();

function redrawPlots(...names) {
  for (const name of names.length ? names : Object.keys(PLOTS)) if (seen.has(name)) PLOTS[name]();
}

function startPlots() {
  findFront();
  const options = () => report.metrics.map((metric, index) => element("option", { value: index }, metric.name));
  for (const axis of ["x", "y"]) {
    const select = byId(`metric-${axis}`);
    select.append(...options());
    select.value = plots[axis];
    select.addEventListener("change", () => { plots[axis] = Number(select.value); findFront(); redrawTable(); redrawPlots("front-plot", "settings-plot"); });
  }
  const names = Object.keys(report.curves);
  plots.curve = names.includes(report.objectives[1]) ? report.objectives[1] : names[0] ?? "";
  byId("metric-curve").append(...names.map((name) => element("option", {}, name)));
  byId("metric-curve").value = plots.curve;
  byId("metric-curve").addEventListener("change", (event) => { plots.curve = event.target.value; redrawPlots("curves-plot"); });
  byId("logarithmic").addEventListener("change", () => redrawPlots("curves-plot"));
  const observer = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) {
      if (isIntersecting && !seen.has(target.id)) { seen.add(target.id); PLOTS[target.id](); }
    }
  }, { rootMargin: "300px" });
  // The library stands last on the page, so that the table does not wait for it.
  addEventListener("load", () => { for (const name of Object.keys(PLOTS)) observer.observe(byId(name)); });
  choice.listeners.push(() => redrawPlots());
}
