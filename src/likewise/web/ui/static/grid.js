// The targets: cards that fill in as results come, and one of them large.

import { binary, labelMap, settled, toast } from "./api.js";
import { heat, parse, shown } from "./layers.js";
import { nearest, thermal, tint } from "./view.js";

const RANK = ["missing", "failed", "done", "pending", "corrected", "accepted", "rejected"];
const PAGE = 300; // cards at first
const LARGE = 640; // pixels of the longer side of what is drawn over a large picture

// Whether the mask of a target is fixed: a person made or judged it, and sliders do not move it.
export const fixed = ({ state, verdict, source }) => state === "done" && Boolean(verdict || source === "person");

export class Grid {
  // `state` is the page's: classes, former, sliders, mode; `onOpen(id)` when a card is chosen.
  constructor(box, more, state, onOpen) {
    Object.assign(this, { box, more, state, onOpen, cards: new Map(), limit: PAGE, focused: null });
    this.watch = new IntersectionObserver((entries) => {
      for (const { target, isIntersecting } of entries) {
        const card = this.cards.get(target.dataset.id);
        if (card && (card.visible = isIntersecting)) this.show(card);
      }
    }, { rootMargin: "80px" });
    more.onclick = () => { this.limit += PAGE; this.arrange(); };
  }

  get order() { return [...this.cards.values()].sort(compare).map((card) => card.target.id); }

  replace(targets) {
    const known = new Set(targets.map((target) => target.id));
    for (const [id, card] of this.cards) if (!known.has(id)) { card.box.remove(); this.cards.delete(id); }
    for (const target of targets) this.put(target);
    this.arrange();
  }

  // One target is new or changed.
  put(target) {
    const card = this.cards.get(target.id) ?? this.make(target);
    card.target = target;
    const { status, reasons, doubt, error } = target, unsaved = this.state.unsavedMasks.has(target.id);
    card.box.className = `card ${status}`;
    card.badge.className = `badge ${status}`;
    const why = reasons[0]?.replaceAll("_", " ") ?? `doubt ${(doubt ?? 0).toFixed(2)}`;
    card.badge.textContent = unsaved ? "not saved" : status === "done" ? why : status;
    card.box.setAttribute("aria-label", `${target.name}, ${card.badge.textContent}`);
    card.box.title = error ?? `${target.path}${reasons.length ? `: ${reasons.join(", ")}` : ""}`;
    if (card.visible) this.show(card);
    this.arrangeSoon();
  }

  make(target) {
    const box = document.createElement("button"), card = { box };
    box.dataset.id = target.id;
    box.innerHTML = `<span class="shot"><img alt="" draggable="false"><canvas></canvas></span>
      <span class="line"><span class="name"></span><span class="badge"></span></span>`;
    [card.img, card.canvas, card.badge] = ["img", "canvas", ".badge"].map((what) => box.querySelector(what));
    box.querySelector(".name").textContent = target.name;
    card.img.onload = () => this.draw(card);
    box.onclick = () => this.onOpen(target.id);
    box.onfocus = () => { this.focused = target.id; };
    this.cards.set(target.id, card);
    this.watch.observe(box);
    return card;
  }

  arrangeSoon() { this.timer ??= setTimeout(() => this.arrange(), 200); }

  arrange() {
    clearTimeout(this.timer);
    this.timer = null;
    const boxes = this.order.slice(0, this.limit).map((id) => this.cards.get(id).box);
    this.more.hidden = this.cards.size <= this.limit;
    if (boxes.every((box, k) => this.box.children[k] === box) && boxes.length === this.box.children.length) return;
    const active = document.activeElement;
    this.box.replaceChildren(...boxes);
    if (boxes.includes(active)) active.focus({ preventScroll: true });
  }

  // Get what a card shows, then draw it.
  async show(card) {
    const { id, state, changed } = card.target, base = `/api/targets/${id}`;
    const address = `${base}/picture?side=320&v=${changed}`;
    if (["failed", "missing"].includes(state)) return;
    if (card.img.getAttribute("src") !== address) card.img.src = address;
    try {
      if (await this.fetch(card)) this.draw(card);
    } catch (error) { toast(error.message); }
  }

  // True once the card has its mask and, unless a person made or judged that, its layers.
  async fetch(card) {
    const { id, state, made, mask } = card.target, held = fixed(card.target);
    if (state !== "done") return Boolean(card.layers);
    const key = card.wanted = held ? mask : made, base = `/api/targets/${id}`;
    if (card.key === key) return true;
    const sliders = { ...this.state.sliders };
    const [written, layers] = await Promise.all([labelMap(`${base}/mask?side=${LARGE}`), held ? null : this.layers(`${base}/layers?v=${key}`)]);
    if (card.wanted === key) Object.assign(card, { key, layers, mask: written, sliders });
    return true;
  }

  // The scores of an image; null where there are none that its classes can be told from.
  async layers(path) {
    try { return parse(await binary(path)); } catch (error) { if (error.gone) return null; throw error; }
  }

  draw(card) {
    const { naturalWidth: width, naturalHeight: height } = card.img;
    if (!width) return;
    const image = this.image(card, height, width);
    card.canvas.width = width;
    card.canvas.height = height;
    if (image) card.canvas.getContext("2d").putImageData(image, 0, 0);
  }

  // What lies over the picture in this mode, at that size.
  image(card, height, width) {
    const { mode, sliders } = this.state, { layers, mask } = card, classes = this.state.colours;
    if (mode === "original" || !mask || ["failed", "missing"].includes(card.target.state)) return null;
    if (mode === "heat" && layers) return thermal(heat(layers, sliders, height, width), height, width);
    return tint(this.labels(card, height, width), height, width, classes, mode);
  }

  // (height, width) numbers of classes: the mask as it is written; where the sliders have moved since, what the
  // scores say, until that is written.
  labels({ layers, mask, sliders }, height, width) {
    const now = this.state.sliders, moved = now.threshold !== sliders.threshold || now.granularity !== sliders.granularity;
    if (!layers || !moved) return nearest(mask.labels, mask.height, mask.width, height, width);
    const found = shown(layers, now, height, width);
    return found.map((k) => (k ? layers.numbers[k - 1] : 0));
  }

  // The sliders, the mode or the colours changed: all that can be seen, now.
  redraw() {
    for (const card of this.cards.values()) if (card.visible) this.draw(card);
  }
}

function compare({ target: a }, { target: b }) {
  return RANK.indexOf(a.status) - RANK.indexOf(b.status) || (b.doubt ?? 0) - (a.doubt ?? 0) || a.path.localeCompare(b.path);
}

export class Viewer {
  constructor(dialog, painter, grid) {
    // `version`: of the target when its correction was begun; `changed`: something is painted.
    Object.assign(this, { dialog, painter, grid, id: null, editing: false, version: null, changed: false });
  }

  get card() { return this.grid.cards.get(this.id); }

  async open(id) {
    Object.assign(this, { id, editing: false, changed: false });
    if (!this.dialog.open) this.dialog.showModal();
    this.painter.canvas.focus();
    const { target } = this.card, picture = new Image();
    this.tell();
    if (["failed", "missing"].includes(target.state)) {
      this.painter.clear();
      return toast(target.error);
    }
    picture.src = `/api/targets/${id}/picture?side=1600&v=${target.changed}`;
    try {
      await Promise.all([picture.decode(), this.grid.fetch(this.card)]);
    } catch (error) {
      return toast(`${target.name} cannot be shown (${error.message}).`);
    }
    if (this.id === id && !this.editing) { this.painter.open(picture); this.draw(); }
  }

  draw() {
    const { picture } = this.painter;
    if (!this.card || !picture || this.editing) return;
    const scale = Math.min(1, LARGE / Math.max(picture.width, picture.height));
    this.painter.cover(this.grid.image(this.card, Math.round(picture.height * scale), Math.round(picture.width * scale)));
  }

  tell() {
    const { target } = this.card, $ = (what) => this.dialog.querySelector(what);
    $("#title").textContent = target.name;
    $("#badge").className = `badge ${target.status}`;
    const sure = target.confidence === null ? "" : `, confidence ${target.confidence.toFixed(2)}`;
    const corrected = target.source === "person" && target.verdict ? " correction" : "";
    $("#badge").textContent = [target.status + corrected + sure, ...target.reasons].join(", ").replaceAll("_", " ");
    $("#correcting").hidden = !this.editing;
    $("#verdicts").hidden = this.editing;
    for (const button of this.dialog.querySelectorAll("#verdicts button")) button.disabled = target.state !== "done";
    $("#takeback").disabled = target.state !== "done" || !target.verdict;
    $("#discard").hidden = target.source !== "person";
    $("#removetarget").disabled = false;
    $("#unsaved").hidden = this.editing || !this.grid.state.unsavedMasks.has(target.id);
    for (const what of ["#previous", "#next", "#close"]) $(what).disabled = this.editing;
  }

  // Paint over the mask as it is on disk; `draft` is what was painted on it and not saved.
  async edit(draft) {
    await settled();
    const { version } = this.card.target, { labels, width, height } = await labelMap(`/api/targets/${this.id}/mask`);
    const fits = draft?.width === width && draft.height === height;
    Object.assign(this, { editing: true, version, changed: Boolean(fits) });
    this.painter.open(this.painter.picture, labels, fits ? draft.labels : null);
    this.tell();
  }

  // The id some places further on, in the order of the grid.
  step(by, order = this.grid.order) {
    return order[(order.indexOf(this.id) + by + order.length) % order.length];
  }
}
