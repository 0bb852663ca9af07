// The page: what the person does, and what the server says.

import { get, labelMap, binary, listen, send, toast } from "./api.js";
import { Grid, Viewer } from "./grid.js";
import { parse } from "./layers.js";
import { Painter } from "./paint.js";
import { MODES, NEGATIVE } from "./view.js";

const $ = (id) => document.getElementById(id);
const state = {
  classes: [], labels: [], pictures: [], picture: null, unsaved: false,
  sliders: { threshold: 0, granularity: 0 }, mode: "overlay",
};
const painter = new Painter($("paint"), { onChange: () => mark(true), granularity: () => state.sliders.granularity });
const look = new Painter($("look"));
const grid = new Grid($("grid"), $("more"), state, (id) => viewer.open(id));
const viewer = new Viewer($("viewer"), look, grid);
window.likewise = { state, painter, grid, viewer, look };

// Say in a toast what goes wrong.
const tried = (doing) => async (...given) => {
  try { return await doing(...given); } catch (error) { toast(error.message); }
};

// --- what the server says -----------------------------------------------------------------------

const renew = tried(async () => {
  const news = await get("/api/state"), first = !state.project;
  if (first && news.failed) toast(news.failed);
  Object.assign(state, { classes: news.classes, labels: news.labels, pictures: news.pictures, project: news.project });
  painter.classes = look.classes = state.classes;
  $("project").textContent = $("project").title = news.project;
  if (first) {
    state.sliders = news.sliders;
    $("threshold").value = news.sliders.threshold;
    const { granularity } = news.sliders;
    $("granularity").value = granularity ? Math.round((100 * Math.log(granularity / 0.01)) / Math.log(100)) : 0;
    $("format").replaceChildren(...news.formats.map((name) => new Option(name.toUpperCase(), name)));
    saySliders();
  }
  showWork(news.work);
  showClasses();
  showPictures();
  grid.replace(news.targets);
  if (!news.targets.length) $("grid").innerHTML = "<p>No images yet: add a folder, or drop images here.</p>";
  grid.redraw();
  if (!state.pictures.some((p) => p.id === state.picture)) {
    if (state.pictures.length) await choose(state.pictures[0].id); else { state.picture = null; painter.clear(); }
  }
  $("empty").hidden = Boolean(state.pictures.length);
  $("example").hidden = Boolean(news.targets.length);
});

function hear(event) {
  if (event.kind === "work") showWork(event);
  if (event.kind === "error") toast(event.text);
  if (event.kind === "reload") state.timer ??= setTimeout(() => { state.timer = null; renew(); }, 100);
  if (event.kind === "target") {
    if (event.target.error && event.target.state === "failed") toast(event.target.error);
    grid.put(event.target);
    if (viewer.id === event.target.id && $("viewer").open) {
      viewer.tell();
      grid.fetch(viewer.card).then(() => viewer.draw(), () => {});
    }
  }
}

function showWork({ doing, left, total }) {
  const words = { loading: "loading the model…", learning: "learning from the example…" };
  $("work").textContent = doing === "segmenting" ? `${total - left} of ${total}` : words[doing] ?? "";
  $("progress").hidden = doing !== "segmenting";
  $("progress").value = total ? (total - left) / total : 0;
}

// --- references ---------------------------------------------------------------------------------

function showPictures() {
  $("pictures").replaceChildren(...state.pictures.map((picture) => {
    const button = document.createElement("button");
    button.className = "thumb";
    button.role = "option";
    button.title = picture.name;
    button.ariaLabel = `Reference ${picture.name}`;
    button.ariaSelected = String(picture.id === state.picture);
    button.innerHTML = `<img alt="" src="/api/references/${picture.id}/picture?side=320&v=${picture.version}">`;
    const colour = state.classes.find((c) => picture.labels.includes(c.label))?.colour;
    if (colour) button.append(Object.assign(document.createElement("i"), { style: `background:${colour}` }));
    button.onclick = () => choose(picture.id);
    return button;
  }));
}

const choose = tried(async (id) => {
  if (state.unsaved && id !== state.picture) await save();
  if (state.unsaved) return;
  state.picture = id;
  showPictures();
  const { version } = state.pictures.find((p) => p.id === id), picture = new Image();
  picture.src = `/api/references/${id}/picture?side=1600&v=${version}`;
  const [, painted] = await Promise.all([picture.decode(), labelMap(`/api/references/${id}/painted`)]);
  if (state.picture !== id) return;
  painter.open(picture, painted.labels);
  mark(false);
  const tree = parse(await binary(`/api/references/${id}/regions?v=${version}`));
  if (state.picture === id) painter.tree = tree;
});

function mark(unsaved) {
  state.unsaved = unsaved;
  $("save").disabled = !unsaved;
}

const save = tried(async () => {
  const { picture, labels } = painter;
  if (!picture || !state.picture) return;
  mark(false);
  try {
    await send("PUT", `/api/references/${state.picture}?width=${picture.width}&height=${picture.height}`, labels.slice());
  } catch (error) {
    mark(true);
    throw error;
  }
  if (!grid.cards.size) toast("The example is kept: now add the images to find it in.", true);
});

function showClasses() {
  const chips = state.classes.map(({ label, colour }, k) => chip(label, k + 1, colour));
  const add = Object.assign(document.createElement("button"), { textContent: "+ class", onclick: () => rename(null) });
  $("classes").replaceChildren(...chips, chip("not it", NEGATIVE, null), add);
  $("correctclasses").replaceChildren(...state.classes.map(({ label }, k) => chip(label, k + 1, null, look)));
}

function chip(label, value, colour, of = painter) {
  const box = document.createElement("button");
  box.className = "chip";
  box.role = "radio";
  box.ariaChecked = String(of.value === value);
  box.textContent = label;
  box.title = value === NEGATIVE ? "Paint what it is not" : `Paint ${label}; a double click or n renames it`;
  box.onclick = () => {
    of.value = value;
    if (of.tool === "eraser") useTool("brush");
    for (const other of box.parentNode.querySelectorAll(".chip")) other.ariaChecked = String(other === box);
  };
  if (of === painter && value !== NEGATIVE) box.ondblclick = () => rename(label);
  if (!colour) return box;
  const input = Object.assign(document.createElement("input"), { type: "color", value: colour, ariaLabel: `Colour of ${label}` });
  input.onclick = (event) => event.stopPropagation();
  input.onchange = () => setClasses(state.classes.map((c) => (c.label === label ? { ...c, colour: input.value } : c)));
  box.prepend(input);
  return box;
}

const setClasses = tried(async (classes) => {
  await send("PUT", "/api/classes", classes);
  await renew();
  if (painter.picture) painter.tinted();
});

async function rename(label) {
  const name = prompt(label ? `New name of ${label}` : "Name of the new class", label ?? "")?.trim();
  if (!name || name === label) return;
  const colour = ["#2f7fe0", "#1fa866", "#c23fd0", "#e0a800", "#00a5b5"][state.classes.length % 5];
  const renamed = state.classes.map((c) => (c.label === label ? { ...c, label: name, was: label } : c));
  await setClasses(label ? renamed : [...state.classes, { label: name, colour }]);
  if (!label) { painter.value = state.classes.length; showClasses(); }
}

function useTool(tool) {
  painter.tool = look.tool = tool;
  painter.polygon = [];
  for (const button of document.querySelectorAll("[data-tool]")) button.ariaPressed = String(button.dataset.tool === tool);
}

const upload = tried(async (files, reference) => {
  for (const file of files) {
    await tried(send)("PUT", `/api/uploads?name=${encodeURIComponent(file.name)}&reference=${reference}`, file);
  }
});

// --- targets ------------------------------------------------------------------------------------

function saySliders() {
  const { threshold, granularity } = state.sliders;
  $("thresholdsays").value = threshold ? `${threshold > 0 ? "+" : ""}${threshold.toFixed(1)}` : "neutral";
  $("granularitysays").value = granularity ? granularity.toFixed(3) : "off";
}

function slide() {
  const place = Number($("granularity").value);
  const granularity = place ? Number((0.01 * 100 ** (place / 100)).toFixed(4)) : 0;
  state.sliders = { threshold: Number($("threshold").value), granularity };
  saySliders();
  state.frame ??= requestAnimationFrame(() => { state.frame = null; grid.redraw(); viewer.draw(); });
}

const stored = tried(() => send("PUT", "/api/sliders", state.sliders));

function setMode(mode) {
  state.mode = mode;
  for (const button of document.querySelectorAll("[data-mode]")) button.ariaPressed = String(button.dataset.mode === mode);
  grid.redraw();
  viewer.draw();
}

// A verdict on the image that is open or has the focus; the next one follows.
const judge = tried(async (verdict) => {
  const open = $("viewer").open, id = open ? viewer.id : document.activeElement.dataset.id, card = grid.cards.get(id);
  if (!card || ["pending", "failed"].includes(card.target.state)) return;
  const order = grid.order, next = order[(order.indexOf(id) + 1) % order.length];
  if (verdict === "promote") {
    await send("POST", `/api/targets/${id}/promote`);
    return toast(`${card.target.name} is an example now.`, true);
  }
  await send("PUT", `/api/targets/${id}/state`, { state: verdict, version: card.target.version });
  if (!open) grid.cards.get(next).box.focus();
  else if (verdict !== "done" && $("viewer").open && viewer.id === id) await viewer.open(next);
});

const keepMask = tried(async () => {
  const { picture, labels } = look, { id } = viewer;
  const answer = await send("PUT", `/api/targets/${id}/mask?width=${picture.width}&height=${picture.height}`, labels.slice());
  grid.put(await answer.json());
  await viewer.open(id);
});

const dataset = tried(async (zipped) => {
  const kind = $("format").value, answer = await send("POST", `/api/export?kind=${kind}&zipped=${zipped}`);
  if (!zipped) return toast(`The dataset is in ${(await answer.json()).path}.`, true);
  const link = document.createElement("a");
  link.download = `${kind}.zip`;
  link.href = URL.createObjectURL(await answer.blob());
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
});

// --- wiring -------------------------------------------------------------------------------------

const clicks = {
  save, undo: () => painter.undo(), redo: () => painter.redo(), fit: () => painter.fit(),
  add: () => $("adding").showModal(), export: () => $("exporting").showModal(), keys: () => $("help").showModal(),
  example: tried(() => send("POST", "/api/example")),
  addfolder: tried(() => send("POST", "/api/folders", { path: $("folder").value })),
  remove: tried(async () => {
    if (!state.picture || !confirm("Take this picture, and what is painted on it, out of the references?")) return;
    mark(false);
    await send("DELETE", `/api/references/${state.picture}`);
  }),
  zip: () => dataset(true), tofolder: () => dataset(false),
  previous: () => viewer.open(viewer.step(-1)), next: () => viewer.open(viewer.step(1)), close: () => $("viewer").close(),
  accept: () => judge("accepted"), reject: () => judge("rejected"), takeback: () => judge("done"),
  promote: () => judge("promote"),
  correct: tried(() => { if (look.tool === "region") useTool("brush"); return viewer.edit(); }),
  cancel: () => viewer.open(viewer.id), keep: keepMask, undocorrect: () => look.undo(),
};
for (const [id, click] of Object.entries(clicks)) $(id).onclick = click;
for (const button of document.querySelectorAll("[data-tool]")) button.onclick = () => useTool(button.dataset.tool);
for (const button of document.querySelectorAll("[data-mode]")) button.onclick = () => setMode(button.dataset.mode);
for (const id of ["threshold", "granularity"]) { $(id).oninput = slide; $(id).onchange = stored; }
$("size").oninput = () => { painter.size = Number($("size").value); };
$("correctsize").oninput = () => { look.size = Number($("correctsize").value); };
$("addreference").onchange = (event) => upload(event.target.files, true);
$("addtargets").onchange = (event) => { upload(event.target.files, false); $("adding").close(); };
$("viewer").onclose = () => { viewer.editing = false; viewer.card?.box.focus(); viewer.id = null; };

document.addEventListener("dragover", (event) => { event.preventDefault(); document.body.classList.add("dropping"); });
document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) document.body.classList.remove("dropping"); });
document.addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("dropping");
  if (event.dataTransfer.files.length) upload(event.dataTransfer.files, Boolean(event.target.closest("#left")));
});

const keys = {
  b: () => useTool("brush"), e: () => useTool("eraser"), p: () => useTool("polygon"),
  g: () => viewer.editing || useTool("region"),
  n: () => viewer.id || (state.classes[painter.value - 1] && rename(state.classes[painter.value - 1].label)),
  0: () => (viewer.id ? look : painter).fit(), "[": () => resize(-4), "]": () => resize(4),
  a: () => judge("accepted"), x: () => judge("rejected"), u: () => judge("done"), r: () => judge("promote"),
  c: () => viewer.id && !$("correct").disabled && clicks.correct(),
  ArrowLeft: () => move(-1), ArrowRight: () => move(1),
};
MODES.forEach((mode, k) => { keys[k + 1] = () => setMode(mode); });

function resize(by) {
  for (const id of ["size", "correctsize"]) { $(id).value = Number($(id).value) + by; $(id).oninput(); }
}

function move(by) {
  if (viewer.id) return viewer.open(viewer.step(by));
  const order = grid.order, at = order.indexOf(grid.focused);
  grid.cards.get(order[at < 0 ? 0 : (at + by + order.length) % order.length])?.box.focus();
}

document.addEventListener("keydown", (event) => {
  const { key, target } = event, active = viewer.editing ? look : painter;
  if (target.matches("#folder, select, dialog:not(#viewer) *") || (target.type === "range" && key.startsWith("Arrow"))) return;
  if ((event.ctrlKey || event.metaKey) && "zy".includes(key.toLowerCase())) {
    event.preventDefault();
    if (viewer.id && !viewer.editing) return;
    return key === "y" || event.shiftKey ? active.redo() : active.undo();
  }
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (key === "Escape" && (viewer.editing || painter.polygon.length)) {
    event.preventDefault();
    painter.polygon = [];
    return viewer.editing ? viewer.open(viewer.id) : painter.drawSoon();
  }
  if (key === "Enter" && active.polygon.length > 2) return active.closePolygon();
  if (key === "Enter" && viewer.editing && !target.matches("button")) return keepMask();
  if (key === "Enter" && !viewer.id && !target.matches("button") && state.unsaved) return save();
  if (viewer.editing && ["a", "x", "u", "r", "c", "ArrowLeft", "ArrowRight"].includes(key)) return;
  if (keys[key]) { event.preventDefault(); keys[key](); }
});

window.addEventListener("beforeunload", (event) => { if (state.unsaved) event.preventDefault(); });
history.replaceState(null, "", "/");
useTool("brush");
setMode("overlay");
listen(hear, renew);
