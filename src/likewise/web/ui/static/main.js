// The page: what the person does, and what the server says.

import { get, labelMap, listen, made, send, showing, toast } from "./api.js";
import { Drafts } from "./drafts.js";
import { Grid, Viewer } from "./grid.js";
import { parse } from "./layers.js";
import { Painter } from "./paint.js";
import { MODES, NEGATIVE } from "./view.js";

const $ = (id) => document.getElementById(id);
const state = {
  classes: [], // {label, colour, number}: the number is what is painted and what masks hold
  colours: [], // of these, and of classes that were removed
  pictures: [], picture: null, base: null, // the picture that is open, and the version its painting began with
  unsaved: false, unsavedMasks: new Set(), // ids of targets with a draft of a correction
  sliders: { threshold: 0, granularity: 0 }, mode: "overlay",
};
const painter = new Painter($("paint"), { onChange: () => painted(), granularity: () => state.sliders.granularity });
const look = new Painter($("look"), { onChange: () => corrected() });
const grid = new Grid($("grid"), $("more"), state, (id) => viewer.open(id));
const viewer = new Viewer($("viewer"), look, grid);
let drafts = null;
window.likewise = { state, painter, grid, viewer, look };

// Say in a toast what goes wrong; what another tab has changed meanwhile is looked at again.
const tried = (doing) => async (...given) => {
  try { return await doing(...given); } catch (error) {
    toast(error.message);
    if (error.stale) await renew();
  }
};

// --- what the server says -----------------------------------------------------------------------

async function renew() {
  const news = await get("/api/state"), first = !drafts;
  if (first) {
    showing(news.id);
    drafts = new Drafts(news.id);
    $("format").replaceChildren(...news.formats.map((name) => new Option(name.toUpperCase(), name)));
  }
  state.unsavedMasks = await drafts.ids("mask");
  const { classes, former, classes_version: classesVersion, pictures, sources, project } = news;
  Object.assign(state, { classes, classesVersion, colours: [...classes, ...former], pictures, sources, project });
  for (const of of [painter, look]) {
    of.classes = state.colours;
    if (of.value !== NEGATIVE && !classes.some(({ number }) => number === of.value)) of.value = classes[0].number;
  }
  $("project").textContent = $("project").title = news.project;
  if (!state.sliding) takeSliders(news.sliders);
  showWork(news.work);
  showClasses();
  showPictures();
  showSources();
  grid.replace(news.targets);
  const hint = sources.length ? "None of the images is there now." : "No images yet: add a folder, or drop images here.";
  if (!news.targets.length) $("grid").innerHTML = `<p>${hint}</p>`;
  grid.redraw();
  if (viewer.id && !viewer.card) $("viewer").close();
  else if (viewer.id) viewer.tell();
  const open = state.pictures.find((p) => p.id === state.picture);
  if (!open) {
    mark(false);
    if (state.pictures.length) await choose(state.pictures[0].id); else { state.picture = null; painter.clear(); }
  } else if (open.version !== state.base && !state.unsaved) await choose(open.id);
  if (painter.picture) painter.tinted();
  $("empty").hidden = Boolean(state.pictures.length);
  $("example").hidden = Boolean(news.targets.length || sources.length);
  if (first && state.unsavedMasks.size) {
    const names = [...state.unsavedMasks].map((id) => grid.cards.get(id)?.target.name).filter(Boolean);
    if (names.length) toast(`A correction that was not saved is kept: open ${names.join(", ")} and press Correct.`, true);
  }
}

function hear(event) {
  if (event.kind === "work") showWork(event);
  if (event.kind === "error") toast(event.text);
  if (event.kind === "sliders" && !state.sliding) takeSliders(event.sliders);
  if (event.kind === "target") {
    if (event.target.error && event.target.state === "failed") toast(event.target.error);
    grid.put(event.target);
    if (viewer.id === event.target.id && $("viewer").open) {
      viewer.tell();
      grid.fetch(viewer.card).then(() => viewer.draw(), () => {});
    }
  }
}

function trouble(text) {
  $("trouble").hidden = !text;
  $("trouble").textContent = text;
}

function showWork({ doing, left, total }) {
  const words = { loading: "loading the model…", learning: "learning from the example…" };
  $("work").textContent = doing === "segmenting" ? `${total - left} of ${total}` : words[doing] ?? "";
  $("progress").hidden = doing !== "segmenting";
  $("progress").value = total ? (total - left) / total : 0;
}

// Folders and files that the images come from: all in the dialog, missing ones above the images too.
function showSources() {
  const line = ({ id, path, error }) => {
    const row = document.createElement("p"), words = document.createElement("span");
    words.textContent = error || path;
    row.className = error ? "source missing" : "source";
    row.append(words);
    if (path !== "images") row.append(Object.assign(document.createElement("button"), {
      type: "button", textContent: "Remove", ariaLabel: `Remove ${path} from the project`, onclick: () => removeFolder(id, path),
    }));
    return row;
  };
  $("sources").replaceChildren(...state.sources.map(line));
  $("missing").replaceChildren(...state.sources.filter(({ error }) => error).map(line));
}

const removeFolder = tried(async (id, path) => {
  if (!confirm(`Take ${path} out of the project? Its pictures stay where they are, and its masks are kept.`)) return;
  await send("DELETE", `/api/folders/${id}`);
  await renew();
});

// --- references ---------------------------------------------------------------------------------

function showPictures() {
  $("pictures").replaceChildren(...state.pictures.map((picture) => {
    const button = document.createElement("button");
    button.className = "thumb";
    button.role = "option";
    button.title = picture.name;
    button.ariaLabel = `Reference ${picture.name}`;
    button.ariaSelected = String(picture.id === state.picture);
    if (picture.missing) button.textContent = "gone";
    else button.innerHTML = `<img alt="" src="/api/references/${picture.id}/picture?side=320&v=${picture.changed}">`;
    const colour = state.classes.find((c) => picture.labels.includes(c.label))?.colour;
    if (colour) button.append(Object.assign(document.createElement("i"), { style: `background:${colour}` }));
    button.onclick = () => choose(picture.id);
    return button;
  }));
}

const choose = tried(async (id) => {
  if (state.unsaved && id !== state.picture) await save();
  if (state.unsaved) return;
  const changed = id !== state.picture;
  state.picture = id;
  showPictures();
  const found = state.pictures.find((p) => p.id === id), same = () => state.picture === id;
  if (found.missing) {
    painter.clear();
    state.base = found.version;
    return toast(`${found.name} is not there any more: put it back, or remove it from the references.`);
  }
  let picture = painter.picture;
  if (changed || !picture) {
    picture = new Image();
    picture.src = `/api/references/${id}/picture?side=1600&v=${found.changed}`;
  }
  const [, saved, draft] = await Promise.all([picture.decode(), labelMap(`/api/references/${id}/painted`), drafts.get("example", id)]);
  if (!same()) return;
  const fits = draft?.width === saved.width && draft.height === saved.height;
  painter.open(picture, saved.labels, fits ? draft.labels : null);
  state.base = found.version;
  mark(Boolean(fits));
  if (fits) toast(`What you painted on ${found.name} and did not save is back.`, true);
  if (changed || !painter.tree) takeRegions(found);
});

// It can take long, when the model is still to be loaded: nothing waits for it.
const takeRegions = tried(async ({ id, changed }) => {
  const wanted = () => state.picture === id && !painter.tree;
  const tree = await made(`/api/references/${id}/regions?v=${changed}`, wanted);
  if (tree && wanted()) painter.tree = parse(tree);
});

function mark(unsaved) {
  state.unsaved = unsaved;
  $("save").disabled = !unsaved;
  $("unpaint").hidden = !unsaved;
}

// Something is painted on the reference …
function painted() {
  mark(true);
  const { width, height } = painter.picture;
  drafts.keep("example", state.picture, { labels: painter.labels.slice(), width, height });
}

// … or on the mask of a target: it is kept in the browser until it is saved.
function corrected() {
  const { width, height } = look.picture;
  viewer.changed = true;
  state.unsavedMasks.add(viewer.id);
  drafts.keep("mask", viewer.id, { labels: look.labels.slice(), width, height });
}

const dropMask = async (id) => {
  state.unsavedMasks.delete(id);
  await drafts.drop("mask", id);
  if (grid.cards.has(id)) grid.put(grid.cards.get(id).target);
};

const save = tried(async () => {
  const { picture, labels } = painter, id = state.picture;
  if (!picture || !id || !labels) return;
  mark(false);
  try {
    const path = () => `/api/references/${id}?width=${picture.width}&height=${picture.height}&version=${state.base}`;
    const { version, note } = await (await send("PUT", path, labels.slice())).json();
    if (state.picture === id) state.base = version;
    if (!state.unsaved) await drafts.drop("example", id);
    if (note) return toast(note);
  } catch (error) {
    if (state.picture === id) mark(true);
    if (error.stale) {
      await renew();
      state.base = state.pictures.find((p) => p.id === id)?.version;
      throw new Error(`${error.message} What you painted is still here: save again to have it in place of that.`);
    }
    throw error;
  }
  if (!grid.cards.size) toast("The example is kept: now add the images to find it in.", true);
});

function showClasses() {
  const chips = state.classes.map(({ label, colour, number }) => chip(label, number, colour));
  const add = Object.assign(document.createElement("button"), { textContent: "+ class", onclick: () => rename(null) });
  const less = Object.assign(document.createElement("button"), {
    textContent: "− class", title: "Remove the class that is chosen", onclick: () => removeClass(), hidden: state.classes.length < 2,
  });
  $("classes").replaceChildren(...chips, chip("not it", NEGATIVE, null), add, less);
  $("correctclasses").replaceChildren(...state.classes.map(({ label, number }) => chip(label, number, null, look)));
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

const setClasses = tried(async (classes, erase = false) => {
  await send("PUT", `/api/classes?version=${state.classesVersion}&erase=${erase}`, classes);
  await renew();
});

const chosen = () => state.classes.find(({ number }) => number === painter.value);

async function rename(label) {
  const name = prompt(label ? `New name of ${label}` : "Name of the new class", label ?? "")?.trim();
  if (!name || name === label) return;
  const colour = ["#2f7fe0", "#1fa866", "#c23fd0", "#e0a800", "#00a5b5"][state.classes.length % 5];
  const renamed = state.classes.map((c) => (c.label === label ? { ...c, label: name, was: label } : c));
  await setClasses(label ? renamed : [...state.classes, { label: name, colour }]);
  const added = state.classes.find((c) => c.label === name);
  if (!label && added) { painter.value = added.number; showClasses(); }
}

async function removeClass() {
  const gone = chosen();
  if (!gone) return toast("Choose the class that is to be removed first.");
  const count = state.pictures.filter((p) => p.labels.includes(gone.label)).length;
  const what = count ? ` and what is painted of it on ${count} ${count === 1 ? "picture" : "pictures"}` : "";
  if (!confirm(`Remove the class ${gone.label}${what}? Masks that you judged or made keep it.`)) return;
  await setClasses(state.classes.filter((c) => c !== gone), true);
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
  await renew();
});

// --- targets ------------------------------------------------------------------------------------

function saySliders() {
  const { threshold, granularity } = state.sliders;
  $("thresholdsays").value = threshold ? `${threshold > 0 ? "+" : ""}${threshold.toFixed(1)}` : "neutral";
  $("granularitysays").value = granularity ? granularity.toFixed(3) : "off";
}

function takeSliders(sliders) {
  state.sliders = sliders;
  $("threshold").value = sliders.threshold;
  const { granularity } = sliders;
  $("granularity").value = granularity ? Math.round((100 * Math.log(granularity / 0.01)) / Math.log(100)) : 0;
  saySliders();
  grid.redraw();
  viewer.draw();
}

function slide() {
  state.sliding = true; // until it is stored
  const place = Number($("granularity").value);
  const granularity = place ? Number((0.01 * 100 ** (place / 100)).toFixed(4)) : 0;
  state.sliders = { ...state.sliders, threshold: Number($("threshold").value), granularity };
  saySliders();
  state.frame ??= requestAnimationFrame(() => { state.frame = null; grid.redraw(); viewer.draw(); });
}

const stored = tried(async () => {
  const { threshold, granularity } = state.sliders;
  try {
    const path = () => `/api/sliders?version=${state.sliders.version ?? ""}`;
    const answer = await (await send("PUT", path, { threshold, granularity })).json();
    state.sliders.version = answer.version;
  } finally { state.sliding = false; }
});

function setMode(mode) {
  state.mode = mode;
  for (const button of document.querySelectorAll("[data-mode]")) button.ariaPressed = String(button.dataset.mode === mode);
  grid.redraw();
  viewer.draw();
}

// A verdict on the image that is open or has the focus; the next one follows.
const judge = tried(async (verdict) => {
  const open = $("viewer").open, id = open ? viewer.id : document.activeElement.dataset.id, card = grid.cards.get(id);
  if (!card || card.target.state !== "done") return;
  const order = grid.order, next = order[(order.indexOf(id) + 1) % order.length];
  if (verdict === "promote") {
    await send("POST", `/api/targets/${id}/promote`, () => ({ version: card.target.version }));
    return toast(`${card.target.name} is an example now.`, true);
  }
  const body = () => ({ verdict, version: card.target.version, sliders: state.sliders.version });
  grid.put(await (await send("PUT", `/api/targets/${id}/verdict`, body)).json());
  if (!open) grid.cards.get(next)?.box.focus();
  else if (verdict && $("viewer").open && viewer.id === id) await viewer.open(next);
  else if (viewer.id === id) await viewer.open(id);
});

const keepMask = tried(async () => {
  const { picture, labels } = look, { id, version } = viewer;
  const path = `/api/targets/${id}/mask?width=${picture.width}&height=${picture.height}&version=${encodeURIComponent(version)}`;
  try {
    const answer = await send("PUT", path, labels.slice());
    grid.put(await answer.json());
  } catch (error) {
    if (!error.stale) throw error;
    await renew();
    if (viewer.editing && viewer.id === id) viewer.version = viewer.card.target.version;
    throw new Error(`${error.message} Your correction is still here: save again to have it in place of that.`);
  }
  await dropMask(id);
  await viewer.open(id);
});

// Leave a correction; what is painted stays as a draft.
function leave() {
  if (viewer.changed) toast("Your correction is not saved, but kept: Correct takes it up again.", true);
  grid.put(viewer.card.target);
  return viewer.open(viewer.id);
}

const cancel = tried(async () => {
  if (viewer.changed && !confirm("Throw away what you painted on this mask?")) return;
  await dropMask(viewer.id);
  await viewer.open(viewer.id);
});

const discard = tried(async () => {
  const { target } = viewer.card;
  if (!confirm(`Discard your correction of ${target.name}? The mask that is found will take its place.`)) return;
  grid.put(await (await send("POST", `/api/targets/${target.id}/restore`, { version: target.version })).json());
  viewer.tell();
});

const removeTarget = tried(async () => {
  const { target } = viewer.card;
  const copy = target.path.startsWith("images/") ? " Its copy in the project is deleted; its mask stays there." : "";
  if (!confirm(`Take ${target.name} out of the project?${copy}`)) return;
  await send("DELETE", `/api/targets/${target.id}`);
  await dropMask(target.id);
  $("viewer").close();
  await renew();
});

const dataset = tried(async (zipped) => {
  const kind = $("format").value, answer = await send("POST", `/api/export?kind=${kind}&zipped=${zipped}`);
  const said = zipped ? { left_out: JSON.parse(answer.headers.get("x-likewise-left-out")) } : await answer.json();
  for (const sentence of said.left_out.slice(0, 3)) toast(`Left out: ${sentence}`);
  if (said.left_out.length > 3) toast(`${said.left_out.length - 3} more were left out.`);
  if (!zipped) return toast(`The dataset is in ${said.path}.`, true);
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
  example: tried(async () => { await send("POST", "/api/example"); await renew(); }),
  addfolder: tried(async () => { await send("POST", "/api/folders", { path: $("folder").value }); await renew(); }),
  unpaint: tried(async () => {
    if (!confirm("Throw away what you painted here and did not save?")) return;
    mark(false);
    await drafts.drop("example", state.picture);
    await choose(state.picture);
  }),
  remove: tried(async () => {
    if (!state.picture || !confirm("Take this picture, and what is painted on it, out of the references?")) return;
    mark(false);
    await drafts.drop("example", state.picture);
    await send("DELETE", `/api/references/${state.picture}`);
    await renew();
  }),
  zip: () => dataset(true), tofolder: () => dataset(false),
  previous: () => viewer.open(viewer.step(-1)), next: () => viewer.open(viewer.step(1)), close: () => $("viewer").close(),
  accept: () => judge("accepted"), reject: () => judge("rejected"), takeback: () => judge(null),
  promote: () => judge("promote"),
  correct: tried(async () => {
    if (look.tool === "region") useTool("brush");
    await viewer.edit(await drafts.get("mask", viewer.id));
  }),
  cancel, discard, removetarget: removeTarget, keep: keepMask, undocorrect: () => look.undo(),
};
for (const [id, click] of Object.entries(clicks)) $(id).onclick = click;
for (const button of document.querySelectorAll("[data-tool]")) button.onclick = () => useTool(button.dataset.tool);
for (const button of document.querySelectorAll("[data-mode]")) button.onclick = () => setMode(button.dataset.mode);
for (const id of ["threshold", "granularity"]) { $(id).oninput = slide; $(id).onchange = stored; }
$("size").oninput = () => { painter.size = Number($("size").value); };
$("correctsize").oninput = () => { look.size = Number($("correctsize").value); };
$("addreference").onchange = (event) => upload(event.target.files, true);
$("addtargets").onchange = (event) => { upload(event.target.files, false); $("adding").close(); };
$("viewer").onclose = () => {
  viewer.editing = false;
  viewer.card?.box.focus();
  viewer.id = null;
};
$("viewer").oncancel = (event) => { if (viewer.editing) event.preventDefault(); };

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
  n: () => viewer.id || (chosen() && rename(chosen().label)),
  0: () => (viewer.id ? look : painter).fit(), "[": () => resize(-4), "]": () => resize(4),
  a: () => judge("accepted"), x: () => judge("rejected"), u: () => judge(null), r: () => judge("promote"),
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
    return viewer.editing ? leave() : painter.drawSoon();
  }
  if (key === "Enter" && active.polygon.length > 2) return active.closePolygon();
  if (key === "Enter" && viewer.editing && !target.matches("button")) return keepMask();
  if (key === "Enter" && !viewer.id && !target.matches("button") && state.unsaved) return save();
  if (viewer.editing && ["a", "x", "u", "r", "c", "ArrowLeft", "ArrowRight"].includes(key)) return;
  if (keys[key]) { event.preventDefault(); keys[key](); }
});

window.addEventListener("beforeunload", (event) => {
  if (state.unsaved || (viewer.editing && viewer.changed)) event.preventDefault();
});
history.replaceState(null, "", "/");
useTool("brush");
setMode("overlay");
listen(hear, renew, trouble);
