// The page: what the person does, and what the server says.

import { get, labelMap, listen, made, send, showing, toast } from "./api.js";
import { Drafts } from "./drafts.js";
import { Grid, Viewer } from "./grid.js";
import { parse } from "./layers.js";
import { Painter } from "./paint.js";
import { along, kept, remember, roving, splitter } from "./panes.js";
import { STATES, counts, inWords, isOpen, reasonsOf } from "./review.js";
import { asked } from "./pyramid.js";
import { MODES, NEGATIVE } from "./view.js";

const $ = (id) => document.getElementById(id);
const state = {
  classes: [], // {label, colour, number}: the number is what is painted and what masks hold
  colours: [], // of these, and of classes that were removed
  pictures: [], picture: null, base: null, // the picture that is open, and the version its painting began with
  unsaved: false, unsavedMasks: new Set(), // ids of targets with a draft of a correction
  sliders: { threshold: 0, granularity: 0 }, mode: "overlay", opacity: 120, heatOf: 0, // number of a class; 0: all
  sided: kept("sided") === "true", // whether an example stands beside the image that is open
  guests: [], // ids of targets on which an example is to be painted
};
const failed = (error) => { toast(error.message); if (error.stale) return renew(); };
const painter = new Painter($("paint"), {
  onChange: () => painted(), granularity: () => state.sliders.granularity, fail: failed,
  ask: async (clicks) => (await labelMap(`/api/references/${state.picture}/clicks`, { clicks })).labels,
});
const look = new Painter($("look"), {
  onChange: () => corrected(), fail: failed, keepsZoom: true, hover: (place) => sayUnder(place),
  drawn: () => viewer.settle(),
  begin: async () => { if (!$("correct").disabled) await viewer.edit(await drafts.get("mask", viewer.id)); },
  ask: async (clicks) => (await labelMap(`/api/targets/${viewer.id}/clicks`, { clicks, version: viewer.version, part: viewer.rect && Object.values(viewer.rect) })).labels,
});
const grid = new Grid($("grid"), $("more"), state, (id) => viewer.open(id));
const viewer = new Viewer($("viewer"), look, grid);
const beside = new Painter($("beside"), { keepsZoom: true });
beside.tool = null; // it is looked at
let drafts = null;
window.likewise = { state, painter, grid, viewer, look, beside };

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
    $("apart").checked = news.instances;
    $("format").replaceChildren(...news.formats.map((name) => new Option(name.toUpperCase(), name)));
  }
  state.unsavedMasks = await drafts.ids("mask");
  const { classes, former, classes_version: classesVersion, pictures, sources, project } = news;
  const guests = state.guests.filter((id) => !pictures.some((p) => p.id === id));
  for (const id of guests) {
    try { pictures.push(await get(`/api/references/${id}`)); } catch { state.guests = state.guests.filter((k) => k !== id); }
  }
  Object.assign(state, { classes, classesVersion, colours: [...classes, ...former], pictures, sources, project });
  $("learn").checked = news.learn;
  for (const of of [painter, look, beside]) {
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
  showFilters();
  grid.redraw();
  if (viewer.id && !viewer.card) $("viewer").close();
  else if (viewer.id) { viewer.tell(); showBeside(); }
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

function trouble(text, failed) {
  $("trouble").hidden = !text;
  $("trouble").firstElementChild.textContent = text;
  $("retry").hidden = !failed;
}

function showWork({ doing, left, total, seconds, again, paused }) {
  const words = { loading: "loading the model…", learning: "learning from the example…" };
  const time = seconds > 90 ? `, ${Math.round(seconds / 60)} min left` : seconds > 1 ? `, ${Math.round(seconds)} s left` : "";
  const busy = doing === "segmenting" ? `${total - left} of ${total}${paused ? "" : time}` : words[doing] ?? "";
  $("work").textContent = paused ? ["paused", busy].filter(Boolean).join(", ") : busy;
  $("pause").hidden = !paused && doing !== "segmenting";
  $("pause").ariaPressed = String(Boolean(paused));
  $("pause").textContent = paused ? "Go on" : "Pause";
  $("again").textContent = again ? `${again} ${again === 1 ? "mask" : "masks"} left that would change` : "";
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

// Something was taken out: say so, and offer to put it back.
async function removed(sent, what) {
  const { undo } = await sent;
  await renew();
  toast(`${what} was removed.`, true, tried(async () => { await send("POST", `/api/undo/${undo}`); await renew(); }));
}

const removeFolder = tried(async (id, path) => {
  await removed(send("DELETE", `/api/folders/${id}`), path);
});

// --- references ---------------------------------------------------------------------------------

function showPictures() {
  $("pictures").replaceChildren(...state.pictures.map((picture) => {
    const button = document.createElement("button");
    button.className = "thumb";
    button.role = "option";
    button.title = picture.name;
    button.ariaLabel = `Reference ${picture.name}${picture.learnt ? ", learnt" : ""}`;
    if (picture.learnt) button.classList.add("learnt");
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
  $("remove").disabled = found.learnt;
  $("remove").title = found.learnt ? "It was learnt: take its verdict back, or switch learning off" : "Take this picture out of the references";
  mark(Boolean(fits));
  if (fits) toast(`What you painted on ${found.name} and did not save is back.`, true);
  if (changed || !painter.tree) takeRegions(found);
  labelMap(`/api/references/${id}/clicks`, { clicks: [] }).catch(() => {}); // ready for the first click
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
  drafts.keep("mask", viewer.id, { labels: look.labels.slice(), width, height, rect: viewer.rect });
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
    const { version, note } = await send("PUT", path, labels.slice());
    if (state.picture === id) state.base = version;
    if (!state.unsaved) await drafts.drop("example", id);
    if (state.picture === id) painter.rebase();
    if (note) return toast(note);
    if (grid.cards.size) useTab("images");
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
  $("correctclasses").replaceChildren(...state.classes.map(({ label, number, colour }) => chip(label, number, colour, look)));
  $("heatof").replaceChildren(new Option("all classes", 0), ...state.classes.map(({ label, number }) => new Option(label, number)));
  $("heatof").value = state.classes.some(({ number }) => number === state.heatOf) ? state.heatOf : 0;
  $("heatof").hidden = state.classes.length < 2;
  for (const box of [$("classes"), $("correctclasses")]) {
    state.classes.slice(0, 9).forEach((_, k) => { box.querySelectorAll(".chip")[k].dataset.key = k + 1; });
    letters(box);
  }
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
    if (of.tool === "hole") useTool("polygon");
    for (const other of box.parentNode.querySelectorAll(".chip")) other.ariaChecked = String(other === box);
  };
  if (of === painter && value !== NEGATIVE) box.ondblclick = () => rename(label);
  if (colour && of !== painter) box.prepend(Object.assign(document.createElement("i"), { style: `background:${colour}` }));
  if (!colour || of !== painter) return box;
  const input = Object.assign(document.createElement("input"), { type: "color", value: colour, ariaLabel: `Colour of ${label}` });
  input.onclick = (event) => event.stopPropagation();
  input.onchange = () => setClasses(state.classes.map((c) => (c.label === label ? { ...c, colour: input.value } : c)));
  box.prepend(input);
  return box;
}

const setClasses = tried(async (classes, erase = false) => {
  const sent = send("PUT", `/api/classes?version=${state.classesVersion}&erase=${erase}`, classes);
  if (erase) return removed(sent, "The class");
  await sent;
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

// --- the queue ----------------------------------------------------------------------------------

// Key letters on the buttons; screen readers have them as shortcuts.
function letters(box = document) {
  for (const button of box.querySelectorAll("[data-key]")) {
    if (button.querySelector("kbd")) continue;
    const names = { "⇧": "Shift+", "⏎": "Enter", "←": "ArrowLeft", "→": "ArrowRight", Esc: "Escape", "+": "Plus" };
    button.setAttribute("aria-keyshortcuts", button.dataset.key.replace(/⇧|⏎|←|→|Esc|\+/, (sign) => names[sign]));
    button.append(Object.assign(document.createElement("kbd"), { textContent: button.dataset.key, ariaHidden: "true" }));
  }
}

function showFilters() {
  const { filter } = grid, found = counts(grid.targets);
  // In place, for a person may be about to press one.
  if (!$("states").children.length) $("states").append(...Object.keys(STATES).map((name) => Object.assign(document.createElement("button"), {
    role: "radio", onclick: () => { grid.where({ state: name }); showFilters(); },
  })));
  Object.entries(STATES).forEach(([name, word], k) => Object.assign($("states").children[k], {
    textContent: `${word} ${found[name]}`, ariaChecked: String((filter.state ?? "all") === name), hidden: !found[name] && name === "failed",
  }));
  const choices = (select, word, pairs, value) => {
    if (select === document.activeElement) return;
    select.replaceChildren(new Option(word, ""), ...pairs.map(([code, said]) => new Option(said, code)));
    select.value = value ?? "";
    select.hidden = pairs.length < 2 && !value;
  };
  choices($("ofclass"), "all classes", state.colours.filter(({ label }) => grid.targets.some((t) => t.labels.includes(label))).map(({ label }) => [label, label]), filter.label);
  choices($("ofreason"), "all reasons", reasonsOf(grid.targets).map((code) => [code, inWords(code)]), filter.reason);
  const done = found.all && !found.open;
  $("alljudged").hidden = !done;
  $("alljudged").textContent = done ? `All judged: ${found.accepted} accepted, ${found.corrected} corrected, ${found.rejected} rejected. Export has them.` : "";
  showExport();
  $("review").hidden = !found.all;
}

// What a dataset would hold now.
function showExport() {
  const found = counts(grid.targets), only = $("onlyjudged").checked, pending = grid.targets.filter(({ status }) => status === "pending").length;
  const rows = { open: found.open - pending, accepted: found.accepted, corrected: found.corrected, rejected: found.rejected, failed: found.failed + pending };
  const goes = (name) => !["rejected", "failed"].includes(name) && !(only && name === "open");
  $("exportcounts").replaceChildren(...Object.entries(rows).filter(([, count]) => count).flatMap(([name, count]) => [
    Object.assign(document.createElement("dt"), { textContent: name === "failed" ? "Without a mask" : STATES[name] }),
    Object.assign(document.createElement("dd"), { textContent: goes(name) ? count : `${count}, left out` }),
  ]));
  const total = Object.entries(rows).reduce((sum, [name, count]) => sum + (goes(name) ? count : 0), 0), share = Number($("val").value);
  $("valsays").value = share ? `about ${share} % of the images` : "none";
  $("exported").textContent = `${total} ${total === 1 ? "image" : "images"}${share ? `, about ${Math.round((total * share) / 100)} of them for validation` : ""}`;
  $("zip").disabled = $("tofolder").disabled = !total;
}

function showChosen() {
  const count = grid.chosen.size;
  $("batch").hidden = !count && !grid.choosing;
  $("chosen").textContent = `${count} chosen`;
  $("selecting").ariaPressed = String(grid.choosing);
  for (const id of ["acceptall", "rejectall", "takebackall"]) $(id).disabled = !count;
}
grid.onChoice = showChosen;
grid.onCount = showFilters;

// One verdict on all that are chosen.
const judgeChosen = tried(async (verdict) => {
  const body = () => ({
    verdict, sliders: state.sliders.version,
    targets: [...grid.chosen].map((id) => grid.cards.get(id).target).filter((t) => t.state === "done").map(({ id, version }) => ({ id, version })),
  });
  const { targets, left } = await send("PUT", "/api/verdicts", body);
  for (const target of targets) grid.put(target);
  grid.choosing = false;
  grid.choose([...grid.chosen], false);
  toast(`${targets.length} ${verdict ?? "taken back"}.`, true);
  for (const sentence of left.slice(0, 2)) toast(sentence);
});

function sayUnder(place) {
  const shown = place && look.isPrompting() && look.picture, number = shown ? look.at(place) : 0;
  $("under").hidden = !shown;
  const named = (k) => state.colours.find((c) => c.number === k)?.label;
  const words = look.labels ? `${named(number) ?? "nothing"} here · ` : "";
  const how = look.tool === "box" ? `drag a box around ${named(look.value)}` : `left: it is ${named(look.value)} · right: it is not · drag: a line`;
  if (shown) $("under").textContent = words + how;
}

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
    const { version } = await send("PUT", path, { threshold, granularity });
    state.sliders.version = version;
  } finally { state.sliding = false; }
});

function setMode(mode) {
  state.mode = mode;
  for (const button of document.querySelectorAll("[data-mode]")) button.ariaPressed = String(button.dataset.mode === mode);
  $("legend").hidden = mode !== "heat";
  grid.redraw();
  viewer.draw();
}

// A verdict on the image that is open or has the focus; the next one follows.
const judge = tried(async (verdict) => {
  const open = $("viewer").open, id = open ? viewer.id : document.activeElement.dataset.id, card = grid.cards.get(id);
  if (!card || card.target.state !== "done") return;
  const next = grid.next(id);
  if (verdict === "promote") {
    await send("POST", `/api/targets/${id}/promote`, () => ({ version: card.target.version }));
    return toast(`${card.target.name} is an example now.`, true);
  }
  const body = () => ({ verdict, version: card.target.version, sliders: state.sliders.version });
  grid.put(await send("PUT", `/api/targets/${id}/verdict`, body));
  await onwards(verdict && next, id, open);
});

async function onwards(next, id, open = true) {
  if (!open) return grid.cards.get(next)?.box.focus();
  if (!$("viewer").open || viewer.id !== id) return;
  if (next === undefined) {
    $("viewer").close();
    const rest = grid.targets.filter(isOpen).length, waiting = grid.targets.filter((t) => t.status === "pending").length;
    const words = rest ? "All that are shown are judged." : waiting ? `All that are done are judged; ${waiting} are waiting.` : "All judged.";
    return toast(words, true);
  }
  await viewer.open(next || id);
}

const keepMask = tried(async (accept = false) => {
  if (accept === true && !viewer.changed) { viewer.editing = false; return judge("accepted"); }
  const { picture, labels } = look, { id, version } = viewer;
  const path = `/api/targets/${id}/mask?width=${picture.width}&height=${picture.height}&version=${encodeURIComponent(version)}${asked(viewer.rect)}`;
  try {
    grid.put(await send("PUT", path, labels.slice()));
  } catch (error) {
    if (!error.stale) throw error;
    await renew();
    if (viewer.editing && viewer.id === id) viewer.version = viewer.card.target.version;
    throw new Error(`${error.message} Your correction is still here: save again to have it in place of that.`);
  }
  await dropMask(id);
  if (accept !== true) return viewer.open(id);
  viewer.editing = false;
  const next = grid.next(id);
  const body = () => ({ verdict: "accepted", version: grid.cards.get(id).target.version });
  grid.put(await send("PUT", `/api/targets/${id}/verdict`, body));
  await onwards(next, id);
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
  grid.put(await send("POST", `/api/targets/${target.id}/restore`, { version: target.version }));
  viewer.tell();
});

const removeTarget = tried(async () => {
  const { target } = viewer.card;
  const sent = send("DELETE", `/api/targets/${target.id}`);
  await sent;
  await dropMask(target.id);
  $("viewer").close();
  await removed(sent, target.name);
});

const dataset = tried(async (zipped) => {
  const kind = $("format").value, how = `judged=${$("onlyjudged").checked}&apart=${$("apart").checked}&val=${$("val").value / 100}`;
  const answer = await send("POST", `/api/export?kind=${kind}&zipped=${zipped}&${how}`);
  const said = zipped ? { left_out: JSON.parse(answer.headers.get("x-likewise-left-out")) } : answer;
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
  save, retry: tried(() => send("POST", "/api/retry")), sided: () => setSided(!state.sided),
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
    const picture = state.pictures.find((p) => p.id === state.picture);
    if (!picture || $("remove").disabled) return;
    mark(false);
    await drafts.drop("example", picture.id);
    if (state.guests.includes(picture.id) && !picture.labels.length) {
      state.guests = state.guests.filter((id) => id !== picture.id);
      return renew();
    }
    state.guests = state.guests.filter((id) => id !== picture.id);
    await removed(send("DELETE", `/api/references/${picture.id}`), picture.name);
  }),
  paintexample: tried(async () => {
    const { id } = viewer;
    if (!state.guests.includes(id)) state.guests.push(id);
    $("viewer").close();
    await renew();
    useTab("example");
    await choose(id);
  }),
  pause: tried(() => send("PUT", "/api/pause", { on: $("pause").ariaPressed !== "true" })),
  selecting: () => { grid.choosing = !grid.choosing; grid.choose([]); },
  chooseall: () => grid.choose(grid.order, true), choosenone: () => { grid.choosing = false; grid.choose([...grid.chosen], false); },
  acceptall: () => judgeChosen("accepted"), rejectall: () => judgeChosen("rejected"), takebackall: () => judgeChosen(null),
  keepaccept: () => keepMask(true),
  zip: () => dataset(true), tofolder: () => dataset(false),
  previous: () => viewer.open(viewer.step(-1)), next: () => viewer.open(viewer.step(1)), close: () => $("viewer").close(),
  accept: () => judge("accepted"), reject: () => judge("rejected"), takeback: () => judge(null),
  promote: () => judge("promote"),
  correct: tried(async () => {
    if (look.tool === "region") useTool("brush");
    await viewer.edit(await drafts.get("mask", viewer.id));
  }),
  cancel, discard, removetarget: removeTarget, keep: () => keepMask(),
};
for (const [id, click] of Object.entries(clicks)) $(id).onclick = click;
for (const [id, of] of [["tools", painter], ["correcttools", look]]) {
  $(id).append($("toolset").content.cloneNode(true));
  for (const button of $(id).querySelectorAll("[data-do]")) button.onclick = () => of[button.dataset.do]();
  $(id).querySelector(".size").oninput = (event) => resize(Number(event.target.value));
}
$("correcttools").querySelector("[data-tool=region]").remove();
// After a press of the mouse the keys are for the picture again.
const pressed = (doing) => (event) => { doing(); if (event.detail) (viewer.id ? look : painter).canvas.focus(); };
for (const button of document.querySelectorAll("[data-tool]")) button.onclick = pressed(() => useTool(button.dataset.tool));
for (const button of document.querySelectorAll("[data-mode]")) button.onclick = pressed(() => setMode(button.dataset.mode));
$("heatof").onchange = () => { state.heatOf = Number($("heatof").value); setMode("heat"); };
$("besideof").onchange = () => { state.besideOf = $("besideof").value; showBeside(); };
for (const id of ["onlyjudged", "val"]) $(id).oninput = showExport;
for (const id of ["threshold", "granularity"]) { $(id).oninput = slide; $(id).onchange = stored; }
for (const button of document.querySelectorAll("[data-tab]")) button.onclick = () => useTab(button.dataset.tab);
$("learn").onchange = tried(async () => { await send("PUT", "/api/learn", { on: $("learn").checked }); });
for (const [id, name] of [["ofclass", "label"], ["ofreason", "reason"], ["search", "text"]]) {
  $(id).oninput = () => { grid.where({ [name]: $(id).value }); };
}
$("thumbs").oninput = () => { $("grid").style.setProperty("--thumb", `${$("thumbs").value}px`); };
$("opacity").oninput = () => {
  state.opacity = Number($("opacity").value);
  for (const of of [painter, look, beside]) { of.opacity = state.opacity; if (of.labels) of.tinted(); }
  viewer.draw();
  grid.redraw();
};
viewer.onOpen = () => {
  if (!$("viewer").contains($("views"))) $("viewer").firstElementChild.after($("views"));
  showBeside();
};
for (const id of ["thumbs", "opacity"]) remember($(id));
splitter($("split"), document.querySelector("main"), 0.33);
splitter($("viewsplit"), $("panes"), 0.4);
$("addreference").onchange = (event) => upload(event.target.files, true);
$("addtargets").onchange = (event) => { upload(event.target.files, false); $("adding").close(); };
$("viewer").onclose = () => {
  $("right").prepend($("views"));
  for (const slider of $("views").querySelectorAll("input")) slider.disabled = false;
  viewer.editing = grid.held = false;
  viewer.card?.box.focus({ preventScroll: true });
  viewer.card?.box.scrollIntoView({ block: "nearest" });
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
  g: () => viewer.id || useTool("region"), h: () => useTool("hole"), "+": () => useTool("plus"), "=": () => useTool("plus"), "-": () => useTool("minus"),
  z: () => active().undo(), Z: () => active().redo(), v: () => setMode(MODES[(MODES.indexOf(state.mode) + 1) % MODES.length]),
  n: () => viewer.id || (chosen() && rename(chosen().label)),
  0: () => active().fit(), "[": () => resize(painter.size - 4), "]": () => resize(painter.size + 4),
  m: () => useTool("box"), s: () => viewer.id && setSided(!state.sided),
  a: () => (viewer.editing ? keepMask(true) : judge("accepted")), x: () => judge("rejected"), u: () => judge(null), r: () => judge("promote"),
  c: () => viewer.id && !$("correct").disabled && clicks.correct(),
  ArrowLeft: () => move(-1), ArrowRight: () => move(1),
};
const active = () => (viewer.id ? look : painter);

// The k-th class, on what is open.
function useClass(k) {
  const box = $(viewer.id ? "correctclasses" : "classes").querySelectorAll(".chip")[k];
  if (k < state.classes.length) box.click();
}

function useTab(tab) {
  document.body.dataset.tab = tab;
  for (const button of document.querySelectorAll("[data-tab]")) if (button !== document.body) button.ariaPressed = String(button.dataset.tab === tab);
}

function resize(size) {
  painter.size = look.size = Math.min(120, Math.max(2, size));
  for (const slider of document.querySelectorAll(".size")) slider.value = painter.size;
}

function setSided(on) {
  state.sided = on;
  kept("sided", on);
  showBeside();
}

// The example that stands beside the image that is open: the one that was chosen, else one of its class.
async function showBeside() {
  const examples = state.pictures.filter((p) => !p.missing && p.labels.length), [label] = viewer.card?.target.labels ?? [];
  const of = (test) => examples.find(test), found = of((p) => p.id === state.besideOf) ?? of((p) => p.labels.includes(label)) ?? examples[0];
  $("sided").ariaPressed = String(state.sided);
  $("sided").disabled = !found;
  $("besidebox").hidden = $("viewsplit").hidden = !state.sided || !found;
  if (!state.sided || !found || !viewer.id) return;
  $("besideof").replaceChildren(...examples.map((p) => new Option(p.name, p.id)));
  $("besideof").value = found.id;
  const key = found.id + found.version, picture = new Image();
  if (state.besideKey === key) return;
  state.besideKey = key;
  picture.src = `/api/references/${found.id}/picture?side=1600&v=${found.changed}`;
  try {
    const [, { labels }] = await Promise.all([picture.decode(), labelMap(`/api/references/${found.id}/painted`)]);
    if (state.besideKey !== key) return;
    beside.open(picture, labels);
  } catch (error) { state.besideKey = null; failed(error); }
}

function move(by) {
  if (viewer.id) {
    if (viewer.changed) return toast("Save this mask first (Enter), or leave it for later (Escape).", true);
    return viewer.open(viewer.step(by));
  }
  const order = grid.order, at = order.indexOf(grid.focused);
  grid.cards.get(order[at < 0 ? 0 : (at + by + order.length) % order.length])?.box.focus();
}

document.addEventListener("keydown", (event) => {
  const { key, target } = event, painting = active();
  if (target.matches("#folder, #search, select, dialog:not(#viewer) *") || (target.type === "range" && key.startsWith("Arrow"))) return;
  if ((event.ctrlKey || event.metaKey) && "zy".includes(key.toLowerCase())) {
    event.preventDefault();
    if (viewer.id && !viewer.editing) return;
    return key === "y" || event.shiftKey ? painting.redo() : painting.undo();
  }
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const other = along(target, key);
  if (other) {
    event.preventDefault();
    other.focus();
    return other.role === "radio" && other.click();
  }
  if (key === "Escape" && (viewer.editing || painting.polygon.length)) {
    event.preventDefault();
    if (!painting.polygon.length) return leave();
    painting.polygon = [];
    return painting.drawSoon();
  }
  if (key === "Enter" && painting.polygon.length > 2) return painting.closePolygon();
  if (key === " " && target.matches(".card")) {
    event.preventDefault();
    return grid.choose([target.dataset.id]);
  }
  if (key === " " && !target.matches("button, input")) {
    event.preventDefault();
    return hold(true);
  }
  const digit = /^Digit([1-9])$/.exec(event.code)?.[1];
  if (digit && !target.matches("input")) {
    event.preventDefault();
    return event.shiftKey ? MODES[digit - 1] && setMode(MODES[digit - 1]) : useClass(digit - 1);
  }
  if (key === "Enter" && viewer.editing && !target.matches("button")) return keepMask();
  if (key === "Enter" && !viewer.id && !target.matches("button") && state.unsaved) return save();
  if (viewer.editing && ["x", "u", "r", "c"].includes(key)) return;
  if (keys[key]) { event.preventDefault(); keys[key](); }
});

// While Space is held, the left button moves the picture.
function hold(on) {
  for (const of of [painter, look, beside]) of.moves = on;
  document.body.classList.toggle("moving", on);
}
document.addEventListener("keyup", ({ key }) => { if (key === " ") hold(false); });
window.addEventListener("blur", () => hold(false));

window.addEventListener("beforeunload", (event) => {
  if (state.unsaved || (viewer.editing && viewer.changed)) event.preventDefault();
});
history.replaceState(null, "", "/");
useTool("plus");
useTab("example");
resize(24);
letters();
setMode("overlay");
roving();
listen(hear, renew, trouble);
