"use strict";
// The table: a row per configuration or per run, sortable, with a box to choose it.

const table = { rows: "configuration", column: null, descending: false, hiddenMetrics: new Set() };
const SHOWN_METRICS = 6;

/** The columns: how each is called, what it is sorted by, and its cell. */
function tableColumns() {
  const perRun = table.rows === "run";
  const keys = perRun ? report.keys : settingKeys;
  const columns = keys.map((key, index) => ({
    name: shortNames.get(key.name), title: key.name, number: key.numbers !== null,
    value: (row) => key.values.indexOf(row.settings[index]),
    cell: (row) => row.settings[index],
  }));
  if (!perRun) {
    columns.unshift({
      name: "Front", title: "on the trade-off front", value: (row) => (plots.front[row.configuration] ? 0 : 1),
      cell: (row) => (plots.front[row.configuration] ? element("span", { class: "mark", title: "on the trade-off front" }, element("span", { "aria-hidden": "true" }, "◆"), element("span", { class: "hidden" }, "on the front")) : ""),
    });
  }
  report.metrics.forEach((metric, index) => {
    if (table.hiddenMetrics.has(index)) return;
    const [group, name] = split(metric.name);
    columns.push({
      name, group, title: `${metric.name}, ${metric.higher ? "higher" : "lower"} is better`, number: true,
      value: (row) => row.metrics[index]?.[0], cell: (row) => metricCell(row.metrics[index], index),
    });
  });
  if (!perRun) columns.push({ name: "Seeds", number: true, value: (row) => row.seeds, cell: (row) => String(row.seeds) });
  columns.push({ name: "Step", number: true, value: (row) => row.step, cell: (row) => row.step.toLocaleString("en") });
  columns.push({ name: "State", value: (row) => row.state, cell: (row) => element("span", { class: `state-${row.state.split(" ").pop()}` }, row.state) });
  if (perRun || !settingKeys.length) columns.push({ name: "Folder", value: (row) => row.name, cell: (row) => element("span", { class: "folder" }, row.name) });
  return columns;
}

/** A metric's name as what it was measured on, and what. */
function split(metric) {
  const slash = metric.indexOf("/");
  return [metric.slice(0, slash), metric.slice(slash + 1)];
}

function metricCell(estimate, metric) {
  if (!estimate) return element("span", { class: "none" }, "–", element("span", { class: "hidden" }, " missing"));
  const text = spreadText(estimate, metric);
  return element("span", {}, formatted(estimate[0], metric), text ? " " : null, text ? element("span", { class: "spread" }, text) : null);
}

function tableRows() {
  if (table.rows === "run") {
    return report.runs.map((run, index) => ({
      ...run, configuration: configurationOfRun[index], label: runLabel(index),
      metrics: run.metrics.map((value) => value && [value[0], 1, null, null, null]),
    }));
  }
  return report.configurations.map((configuration, index) => {
    const runs = configuration.runs.map((run) => report.runs[run]);
    const counts = new Map();
    for (const run of runs) counts.set(run.state, (counts.get(run.state) ?? 0) + 1);
    const state = counts.size === 1 ? runs[0].state : [...counts].map(([name, count]) => `${count} ${name}`).join(", ");
    return {
      ...configuration, configuration: index, label: configurationLabel(index), name: runs[0].name, state,
      seeds: configuration.counted.length, step: Math.max(...runs.map((run) => run.step)),
    };
  });
}

/** Rows in the order of a column; what is missing is last in both directions. */
function sorted(rows, column) {
  if (!column) return rows;
  const sign = table.descending ? -1 : 1;
  const isMissing = (value) => value === undefined || value === null;
  return rows.map((row) => [column.value(row), row]).sort(([a], [b]) => {
    if (isMissing(a) || isMissing(b)) return isMissing(a) - isMissing(b);
    return sign * (typeof a === "string" ? a.localeCompare(b) : a - b);
  }).map(([, row]) => row);
}

function drawTable() {
  const columns = tableColumns();
  const column = columns.find((one) => one.name === table.column?.name && one.group === table.column?.group);
  byId("table").tHead.replaceChildren(element("tr", {},
    element("th", { class: "pick", scope: "col" }, element("span", { class: "hidden" }, "Chosen")),
    ...columns.map((one) => element("th", {
      scope: "col", class: one.number ? "number" : null, title: one.title,
      "aria-sort": one !== column ? "none" : table.descending ? "descending" : "ascending",
    }, element("button", { type: "button", onclick: () => sortBy(one) },
      one.group ? element("small", {}, one.group) : null, element("span", { class: "arrow" }, one.name)))),
  ));
  const words = byId("find").value.toLowerCase().split(/\s+/).filter(Boolean);
  const rows = tableRows().filter((row) => {
    const text = `${row.label} ${row.state} ${row.name}`.toLowerCase();
    return words.every((word) => text.includes(word));
  });
  byId("table").tBodies[0].replaceChildren(...sorted(rows, column).map((row) => tableRow(row, columns)));
  byId("table-legend").textContent = tableLegend(rows.length);
}

function tableRow(row, columns) {
  const box = element("input", {
    type: "checkbox", "aria-label": `Choose ${row.label}`, "data-configuration": row.configuration,
    onchange: () => toggle(row.configuration),
  });
  return element("tr", {
    onpointerenter: (event) => { if (event.pointerType === "mouse") box.title = row.label; },
  }, element("td", { class: "pick" }, box, swatch(row.configuration)), ...columns.map((one, index) =>
    element(index === 0 ? "th" : "td", { class: one.number ? "number" : null, scope: index === 0 ? "row" : null }, one.cell(row))));
}

function sortBy(column) {
  table.descending = table.column?.name === column.name && table.column?.group === column.group && !table.descending;
  table.column = column;
  const focused = [...byId("table").tHead.querySelectorAll("button")].indexOf(document.activeElement);
  drawTable();
  byId("table").tHead.querySelectorAll("button")[focused]?.focus();
}

function tableLegend(count) {
  const of = table.rows === "run" ? report.runs.length : report.configurations.length;
  const parts = count < of ? [`${count} of ${plural(of, table.rows)}`] : [];
  if (table.rows === "configuration") {
    parts.push("◆ on the trade-off front");
    if (report.configurations.some((one) => one.counted.length > 1)) {
      parts.push(spread.kind === "deviation" ? "± standard deviation over seeds" : "[ ] 95 % interval of the mean over seeds (Student’s t), or over images where the scores have one");
    }
  }
  return parts.join(" · ");
}

/** The boxes and colours as they are chosen, without a new table. */
function markTable() {
  for (const box of byId("table").tBodies[0].querySelectorAll("input")) {
    const configuration = Number(box.dataset.configuration);
    box.checked = choice.chosen.includes(configuration);
    box.nextSibling.replaceWith(swatch(configuration));
  }
  byId("chosen-count").textContent = `${choice.chosen.length} chosen`;
}

function startTable() {
  report.metrics.forEach((metric, index) => { if (index >= SHOWN_METRICS) table.hiddenMetrics.add(index); });
  byId("columns").lastElementChild.append(...report.metrics.map((metric, index) => element("label", { class: "check" },
    element("input", { type: "checkbox", checked: !table.hiddenMetrics.has(index), onchange: (event) => {
      table.hiddenMetrics[event.target.checked ? "delete" : "add"](index);
      redrawTable();
    } }), metric.name)));
  byId("columns").hidden = !report.metrics.length;
  byId("rows").hidden = report.runs.length === report.configurations.length;
  for (const radio of byId("rows").querySelectorAll("input")) {
    radio.addEventListener("change", () => { table.rows = radio.value; redrawTable(); });
  }
  byId("find").addEventListener("input", redrawTable);
  byId("choose-none").addEventListener("click", () => choose([]));
  byId("choose-front").addEventListener("click", () => choose(plots.order.filter((index) => plots.front[index])));
  document.addEventListener("click", (event) => { if (!byId("columns").contains(event.target)) byId("columns").open = false; });
  byId("columns").addEventListener("keydown", (event) => {
    if (event.key === "Escape") { byId("columns").open = false; byId("columns").firstElementChild.focus(); }
  });
  redrawTable();
  choice.listeners.push(markTable);
}

function redrawTable() {
  drawTable();
  markTable();
}
