// Draws the panels of the dashboard with what Prometheus answers. No build step, one library: uPlot.
"use strict";

let span = 60; // seconds that are shown: since the start, but not more than three minutes
const step = 2; // seconds between two points: the interval of the scrapes
const every = 2000; // milliseconds between two rounds
const colours = ["#3b7ddd", "#12a150", "#e5762a", "#9353d3", "#d92d6b", "#0f9fb0", "#8a6d3b", "#667085"];

const $ = (id) => document.getElementById(id);
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

// What goes wrong is told on the page, where a test sees it too.
function failed(error) {
  document.body.dataset.error = String(error && error.message ? error.message : error);
  $("text").textContent = document.body.dataset.error;
}
window.addEventListener("error", (e) => failed(e.message));
window.addEventListener("unhandledrejection", (e) => failed(e.reason));

let state = { outages: [] };
let panels = [];

async function json(path) {
  const answer = await fetch(path);
  if (answer.status === 502) return null; // Prometheus is away
  if (!answer.ok) throw new Error(path + ": " + answer.status + " " + (await answer.text()));
  return answer.json();
}

// --- units

const scaled = (v, base, units) => {
  let i = 0;
  for (v = Number(v); Math.abs(v) >= base && i < units.length - 1; i++) v /= base;
  return (Number.isInteger(v) ? v : v.toPrecision(3).replace(/\.?0+$/, "")) + units[i];
};
const units = {
  short: (v) => scaled(v, 1000, ["", " k", " M", " G"]),
  cps: (v) => scaled(v, 1000, ["/s", " k/s", " M/s"]),
  reqps: (v) => scaled(v, 1000, ["/s", " k/s"]),
  bool_yes_no: (v) => (v === 0 ? "no" : v === 1 ? "yes" : ""),
  bytes: (v) => scaled(v, 1024, [" B", " KiB", " MiB", " GiB"]),
  s: (v) => (Math.abs(v) >= 1 || v === 0 ? scaled(v, 1e9, [" s"]) : scaled(v * 1000, 1000, [" ms"])),
  percentunit: (v) => scaled(v * 100, 1e9, [" %"]),
};

// --- the dashboard

function expression(text) {
  return text
    .replaceAll("$job", ".*")
    .replaceAll("$instance", ".*")
    .replaceAll("$exporter", "ordered_remote_write")
    .replaceAll("$__rate_interval", 4 * step + "s")
    .replaceAll("$__range", "3m");
}

function legend(format, labels) {
  // There is one collector, and one exporter that is shown.
  if (format === "__auto") format = "";
  const text = (format || "").replace(/^\{\{instance\}\} \{\{exporter\}\}:? ?/, "");
  if (format && !text) return "";
  if (!text) return Object.values(labels).join(" ") || "no answer";
  return text.replace(/\{\{(\w+)\}\}/g, (_, name) => labels[name] || "");
}

function make(definition) {
  if (definition.type === "row") {
    const row = document.createElement("h2");
    row.textContent = definition.title;
    $("panels").append(row);
    return null;
  }
  const element = document.createElement("section");
  const { x, w } = definition.gridPos;
  element.style.gridColumn = x + 1 + " / span " + w;
  element.dataset.panel = definition.title;
  element.dataset.queries = definition.targets.map((t) => t.expr).join(" ");
  element.dataset.points = 0;
  element.dataset.greatest = 0;
  element.innerHTML = '<h3></h3><div class="legend"></div><div class="plot"></div>';
  element.querySelector("h3").textContent = definition.title;
  $("panels").append(element);
  const unit = definition.fieldConfig && definition.fieldConfig.defaults && definition.fieldConfig.defaults.unit;
  return {
    element,
    unit: units[unit] || units.short,
    stat: definition.type === "stat",
    targets: definition.targets.map((t) => ({ expr: expression(t.expr), legend: t.legendFormat })),
    plot: null,
    names: "",
  };
}

async function query(panel, end) {
  const found = [];
  for (const target of panel.targets) {
    const asked = encodeURIComponent(target.expr);
    const range = panel.stat ? "query?time=" + end : `query_range?start=${end - span}&end=${end}&step=${step}`;
    const answer = await json(`api/v1/${range}&query=${asked}`);
    if (!answer) return null;
    for (const series of answer.data.result) {
      found.push({ name: legend(target.legend, series.metric), values: series.values || [series.value] });
    }
  }
  return found;
}

function columns(found, end) {
  const times = [];
  for (let t = end - span; t <= end; t += step) times.push(t);
  const rows = found.map((series) => {
    const row = new Array(times.length).fill(null);
    for (const [t, v] of series.values) {
      const i = Math.round((t - times[0]) / step);
      if (i >= 0 && i < row.length && isFinite(v)) row[i] = Number(v);
    }
    return row;
  });
  return [times, ...rows];
}

// shade marks the times without Prometheus.
function shade(u) {
  for (const o of state.outages || []) {
    const from = u.valToPos(Date.parse(o.from) / 1000, "x", true);
    const to = o.to ? u.valToPos(Date.parse(o.to) / 1000, "x", true) : u.bbox.left + u.bbox.width;
    const left = Math.max(from, u.bbox.left);
    u.ctx.fillStyle = css("--outage");
    if (to > left) u.ctx.fillRect(left, u.bbox.top, to - left, u.bbox.height);
  }
}

function plot(panel, found, data) {
  const box = panel.element.querySelector(".plot");
  const axis = { stroke: css("--faint"), grid: { stroke: css("--line"), width: 1 }, ticks: { show: false }, font: "11px system-ui, 'DejaVu Sans', sans-serif" };
  box.replaceChildren();
  panel.plot = new uPlot(
    {
      width: box.clientWidth,
      height: box.clientHeight,
      padding: [6, 12, 0, 0],
      legend: { show: false },
      cursor: { points: { size: 5 } },
      scales: { x: { range: () => [panel.from, panel.end] }, y: { range: (u, least, most) => [Math.min(0, least), most > 0 ? most * 1.1 : 1] } },
      axes: [
        { ...axis, size: 22, space: 60, values: (u, ticks) => ticks.map((t) => new Date(t * 1000).toTimeString().slice(0, 8)) },
        { ...axis, size: 58, values: (u, ticks) => ticks.map(panel.unit) },
      ],
      series: [{}, ...found.map((s, i) => ({ label: s.name, stroke: colours[i % colours.length], width: 1.5, points: { show: false } }))],
      hooks: { drawClear: [shade] },
    },
    data,
    box,
  );
}

function draw(panel, found, end) {
  const data = panel.stat ? null : columns(found, end);
  const numbers = panel.stat ? found.map((s) => Number(s.values[0][1])) : data.slice(1).flat().filter((v) => v !== null);
  panel.element.dataset.points = numbers.length;
  panel.element.dataset.greatest = numbers.length ? Math.max(...numbers) : 0;
  panel.from = end - span;
  panel.end = end;

  const names = JSON.stringify(found.map((s) => s.name));
  const box = panel.element.querySelector(".plot");
  if (panel.stat || found.length === 0) {
    const words = found.map((s, i) => [panel.unit(Math.round(numbers[i])), " " + s.name]);
    box.innerHTML = '<div class="stat"></div>';
    box.firstChild.append(...words.flatMap(([n, name]) => [Object.assign(document.createElement("b"), { textContent: n }), name + " "]));
    if (!words.length) box.firstChild.textContent = "none";
    panel.plot = null;
  } else if (panel.plot && panel.names === names) {
    panel.plot.setData(data);
  } else {
    plot(panel, found, data);
  }
  if (panel.names !== names && !panel.stat) {
    const spans = found.map((s, i) => {
      const item = document.createElement("span");
      item.innerHTML = `<i style="background: ${colours[i % colours.length]}"></i>`;
      item.append(s.name);
      return item;
    });
    panel.element.querySelector(".legend").replaceChildren(...(spans.length > 1 || (found[0] && found[0].name) ? spans : []));
  }
  panel.names = names;
}

// --- the head of the page

function figures() {
  const e = state.exporter;
  if (!e) return;
  const list = [
    ["accepted", units.short(Math.round(state.accepted_rate)) + "/s"],
    ["delivered", units.short(Math.round(state.delivered_rate)) + "/s"],
    ["in flight", units.short(e.in_flight)],
    ["queue", units.short(e.queued) + ", " + units.bytes(e.queue_bytes)],
    ["oldest", units.s(Math.round(e.oldest * 10) / 10)],
    ["dropped", units.short(e.dropped)],
  ];
  $("figures").replaceChildren(
    ...list.map(([name, value]) => {
      const item = document.createElement("div");
      item.innerHTML = "<dt></dt><dd></dd>";
      item.firstChild.textContent = name;
      item.lastChild.textContent = value;
      return item;
    }),
  );
}

async function head() {
  try {
    state = await json("state");
  } catch {
    document.body.dataset.phase = "end";
    $("text").textContent = "The demonstration has ended";
    return;
  }
  document.body.dataset.phase = state.phase;
  $("text").textContent = state.text + (state.phase === "outage" ? ", and the panels stand still: what they lack comes afterwards, with its own times" : "");
  $("verdict").hidden = !state.verdict;
  $("verdict").textContent = (state.verdict || []).join("\n");
  figures();
}

async function round() {
  await head();
  if (document.body.dataset.phase !== "outage" && document.body.dataset.phase !== "end" && !document.hidden) {
    // What is newer has not arrived yet.
    const end = Math.floor(Date.now() / 1000 / step - 2) * step;
    span = Math.min(Math.max(end - Math.floor(Date.parse(state.started) / 1000 / step) * step + 4, 40), 180);
    for (const panel of panels) {
      const found = await query(panel, end);
      if (!found) break;
      draw(panel, found, end);
    }
  }
  setTimeout(round, every);
}

async function main() {
  const dashboard = await json("dashboard.json");
  panels = dashboard.panels.map(make).filter((p) => p);
  window.addEventListener("resize", () => panels.forEach((p) => (p.names = "")));
  await round();
}
main();
