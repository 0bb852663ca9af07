// The targets: cards that fill in as results come, and one of them large.

import { binary, labelMap, settled, toast } from "./api.js";
import { cut, heat, parse, shown } from "./layers.js";
import { Part, Pyramid, SHOWN, around, asked, openPicture } from "./pyramid.js";
import { nearest, thermal, tint } from "./view.js";
import { compare, isOpen, matches, why } from "./review.js";

const PAGE = 300; // cards at first
const AT_REST = 150; // ms after which what lies over a part of a large picture is made
const LEAST = 256; // pixels a side of a part that is corrected, at least
const NEUTRAL = { threshold: 0, granularity: 0 };
const LARGE = 640; // pixels of the longer side of what is drawn over a large picture

// Whether the mask of a target is fixed: a person made or judged it, and sliders do not move it.
export const fixed = ({ state, verdict, source }) => state === "done" && Boolean(verdict || source === "person");

export class Grid {
  // `state` is the page's: classes, former, sliders, mode; `onOpen(id)` when a card is chosen.
  constructor(box, more, state, onOpen) {
    Object.assign(this, { box, more, state, onOpen, cards: new Map(), limit: PAGE, focused: null });
    // `listed`: ids in the order shown, which stays while a person looks (`held`: in the viewer).
    Object.assign(this, { listed: [], held: false, filter: {}, chosen: new Set(), choosing: false, onChoice: () => {}, onCount: () => {} });
    for (const kind of ["pointerleave", "focusout"]) box.addEventListener(kind, () => this.arrangeSoon());
    this.watch = new IntersectionObserver((entries) => {
      for (const { target, isIntersecting } of entries) {
        const card = this.cards.get(target.dataset.id);
        if (card && (card.visible = isIntersecting)) this.show(card);
      }
    }, { rootMargin: "80px" });
    more.onclick = () => { this.limit += PAGE; this.arrange(); };
  }

  get order() { return this.listed.filter((id) => this.cards.has(id)); }

  get targets() { return [...this.cards.values()].map((card) => card.target); }

  // What passes the filter, in its order; while somebody looks, only what is new comes to the end.
  sort(anew = false) {
    const found = this.targets.filter((target) => matches(target, this.filter)).sort(compare).map(({ id }) => id);
    const looked = this.held || this.box.matches(":hover") || this.box.contains(document.activeElement);
    if (anew || !looked) this.listed = found;
    else this.listed = [...this.order, ...found.filter((id) => !this.listed.includes(id))];
  }

  where(filter) {
    Object.assign(this.filter, filter);
    this.limit = PAGE;
    this.sort(true);
    this.arrange();
  }

  // The next target after one that nobody judged; undefined if there is none.
  next(id) {
    const order = this.order, at = order.indexOf(id);
    return [...order.slice(at + 1), ...order.slice(0, Math.max(at, 0))].find((other) => isOpen(this.cards.get(other).target));
  }

  choose(ids, on) {
    for (const id of ids) this.chosen[on ?? !this.chosen.has(id) ? "add" : "delete"](id);
    for (const [id, card] of this.cards) card.box.ariaPressed = this.choosing || this.chosen.size ? String(this.chosen.has(id)) : null;
    this.onChoice();
  }

  replace(targets) {
    const known = new Set(targets.map((target) => target.id));
    for (const [id, card] of this.cards) if (!known.has(id)) { card.box.remove(); this.cards.delete(id); this.chosen.delete(id); }
    for (const target of targets) this.put(target);
    this.arrange();
    this.onChoice();
  }

  // One target is new or changed.
  put(target) {
    const card = this.cards.get(target.id) ?? this.make(target);
    card.target = target;
    const { status, error } = target, unsaved = this.state.unsavedMasks.has(target.id);
    card.box.className = `card ${status}`;
    card.badge.className = `badge ${status}`;
    card.badge.textContent = unsaved ? "not saved" : status === "done" ? why(target)[0] : status === "pending" ? "waiting" : status;
    card.box.setAttribute("aria-label", `${target.name}, ${card.badge.textContent}`);
    card.box.title = error ?? [target.path, ...why(target)].join(": ");
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
    box.onclick = (event) => {
      if (event.shiftKey && this.last) {
        const [from, to] = [this.last, target.id].map((id) => this.order.indexOf(id)).sort((a, b) => a - b);
        this.choose(this.order.slice(from, to + 1), true);
      } else if (this.choosing || event.ctrlKey || event.metaKey) this.choose([target.id]);
      else this.onOpen(target.id);
      this.last = target.id;
    };
    box.onfocus = () => { this.focused = target.id; };
    this.cards.set(target.id, card);
    this.watch.observe(box);
    return card;
  }

  arrangeSoon() { this.timer ??= setTimeout(() => this.arrange(), 200); }

  arrange() {
    clearTimeout(this.timer);
    this.timer = null;
    this.sort();
    this.onCount();
    const boxes = this.order.slice(0, this.limit).map((id) => this.cards.get(id).box);
    this.more.hidden = this.order.length <= this.limit;
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
    if (mode === "heat" && layers) return thermal(heat(layers, sliders, height, width, this.state.heatOf), height, width);
    return tint(this.labels(card, height, width), height, width, classes, mode, this.state.opacity);
  }

  // What lies over a part of a large picture, and where. `mask`: as it is written there; null where the sliders have
  // moved since.
  detail(card, { rect, mask }) {
    const { mode, sliders } = this.state, found = card.layers && (mode === "heat" || this.moved(card)) && cut(card.layers, sliders, rect);
    const over = found ? found.rect : rect, scale = Math.min(1, SHOWN / Math.max(over.width, over.height));
    const height = Math.max(1, Math.round(over.height * scale)), width = Math.max(1, Math.round(over.width * scale));
    if (mode === "original") return [null, over];
    if (found && mode === "heat") return [thermal(heat(found.layers, NEUTRAL, height, width, this.state.heatOf), height, width), over];
    const labels = found
      ? shown(found.layers, NEUTRAL, height, width).map((k) => (k ? card.layers.numbers[k - 1] : 0))
      : nearest(mask.labels, mask.height, mask.width, height, width);
    return [tint(labels, height, width, this.state.colours, mode, this.state.opacity), over];
  }

  // Whether the sliders have moved since a mask was written.
  moved({ sliders }) {
    const now = this.state.sliders;
    return now.threshold !== sliders.threshold || now.granularity !== sliders.granularity;
  }

  // (height, width) numbers of classes: the mask as it is written; where the sliders have moved since, what the
  // scores say, until that is written.
  labels(card, height, width) {
    const { layers, mask } = card;
    if (!layers || !this.moved(card)) return nearest(mask.labels, mask.height, mask.width, height, width);
    const found = shown(layers, this.state.sliders, height, width);
    return found.map((k) => (k ? layers.numbers[k - 1] : 0));
  }

  // The sliders, the mode or the colours changed: all that can be seen, now.
  redraw() {
    for (const card of this.cards.values()) if (card.visible) this.draw(card);
  }
}

export class Viewer {
  constructor(dialog, painter, grid) {
    // `version`: of the target when its correction was begun; `changed`: something is painted.
    // `rect`: the part of a large picture that is corrected; `seen`: the part that something is drawn over in detail.
    Object.assign(this, { dialog, painter, grid, id: null, editing: false, version: null, changed: false, rect: null, onOpen: () => {} });
  }

  get card() { return this.grid.cards.get(this.id); }

  async open(id) {
    Object.assign(this, { id, editing: false, changed: false, rect: null, seen: null });
    this.grid.held = true;
    if (!this.dialog.open) this.dialog.showModal();
    this.onOpen();
    this.painter.canvas.focus();
    const { card } = this, { target } = card, key = `${id} ${target.changed}`;
    this.tell();
    if (["failed", "missing"].includes(target.state)) {
      this.painter.clear();
      return toast(target.error);
    }
    let picture = this.last?.key === key ? this.last.picture : null; // it was corrected: its tiles are here
    try {
      const fetched = this.grid.fetch(card), tiled = fetched.then(() => card.layers?.tiled);
      picture ??= await openPicture(`/api/targets/${id}`, id, target.changed, () => this.painter.drawSoon(), tiled);
      await fetched;
    } catch (error) {
      return toast(`${target.name} cannot be shown (${error.message}).`);
    }
    if (this.id !== id || this.editing) return;
    this.last = picture instanceof Pyramid ? { key, picture } : null;
    this.tell();
    this.painter.open(picture);
    this.draw();
    // Ready for the first click, and free to be made anew.
    if (target.state === "done") labelMap(`/api/targets/${id}/clicks`, { clicks: [], version: target.version }).catch(() => {});
  }

  draw() {
    const { picture } = this.painter;
    if (!this.card || !picture || this.editing) return;
    if (this.seen && this.seen.of === this.card.key && (this.seen.mask || this.grid.moved(this.card))) return this.painter.cover(...this.grid.detail(this.card, this.seen));
    this.sighted = this.seen = null;
    const scale = Math.min(1, LARGE / Math.max(picture.width, picture.height));
    this.painter.cover(this.grid.image(this.card, Math.round(picture.height * scale), Math.round(picture.width * scale)));
  }

  // What lies over a large picture is drawn in detail, once it was zoomed or moved.
  settle() {
    const { painter, card } = this, { picture } = painter;
    if (!(picture instanceof Pyramid) || this.editing || !card?.mask) return;
    const sight = painter.sight(), key = sight && Object.values(sight).join();
    if (this.sighted === key) return;
    this.sighted = key;
    clearTimeout(this.timer);
    this.timer = setTimeout(async () => {
      const rect = sight && around(sight, picture, 0.25), still = () => this.sighted === key && this.card === card && !this.editing;
      await settled(); // the mask then is as the sliders say
      if (!rect || !still()) return;
      const of = card.key, moved = card.layers && this.grid.moved(card);
      const mask = moved ? null : await labelMap(`/api/targets/${this.id}/mask?side=${SHOWN}${asked(rect)}`).catch(() => null);
      if ((mask || moved) && still()) { this.seen = { of, rect, mask }; this.draw(); }
    }, AT_REST);
  }

  tell() {
    const { target } = this.card, $ = (what) => this.dialog.querySelector(what);
    $("#title").textContent = target.name;
    $("#badge").className = `badge ${target.status}`;
    const corrected = target.source === "person" && target.verdict ? " correction" : "";
    const word = { done: "not judged", pending: "waiting" }[target.status] ?? target.status;
    const order = this.grid.order, at = order.indexOf(this.id);
    const tiled = this.card.layers?.tiled ? ["read in tiles"] : [];
    $("#badge").textContent = [word + corrected, ...why(target), ...tiled].join(" · ");
    $("#count").textContent = at < 0 ? "" : `${at + 1} of ${order.length}`;
    $("#correcting").hidden = !this.editing;
    $("#verdicts").hidden = this.editing;
    this.dialog.classList.toggle("editing", this.editing);
    for (const slider of this.dialog.querySelectorAll(".masks input")) slider.disabled = fixed(target);
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
    const { painter } = this, { picture } = painter, { version } = this.card.target;
    const rect = picture instanceof Pyramid ? draft?.rect ?? around(painter.sight() ?? { ...picture, x: 0, y: 0 }, picture, 0, LEAST) : null;
    const { labels, width, height } = await labelMap(`/api/targets/${this.id}/mask?side=${SHOWN}${asked(rect)}`);
    const fits = draft?.width === width && draft.height === height && Boolean(draft.rect) === Boolean(rect);
    Object.assign(this, { editing: true, version, changed: Boolean(fits), rect });
    painter.open(rect ? new Part(picture, rect, width, height) : picture, labels, fits ? draft.labels : null);
    if (rect && draft?.rect) { painter.fit(); painter.zoomed = true; } // where it was painted
    const times = rect && Math.round((10 * rect.width) / width) / 10, how = times > 1 ? `at one pixel for ${times} × ${times}: zoom in first for small things` : "at full size; clicks see it alone";
    this.dialog.querySelector("#partsays").textContent = rect ? `You correct what was in sight, ${how}.` : "";
    this.tell();
    // Ready for the first click in this part.
    if (rect) labelMap(`/api/targets/${this.id}/clicks`, { clicks: [], version, part: Object.values(rect) }).catch(() => {});
  }

  // The id some places further on, in the order of the grid.
  step(by, order = this.grid.order) {
    return order[(order.indexOf(this.id) + by + order.length) % order.length];
  }
}
