// A picture to look at and paint on: zoom, pan, clicks, lines, boxes, brush, eraser, polygon, regions, undo.

import { clusters, mergesBelow, upsample } from "./layers.js";
import { tint } from "./view.js";

const STEPS = 40; // of undo
const REGIONS = 40; // clusters to click on while granularity is off
const STILL = 5; // pixels of the screen that a click may move
const APART = 3; // pixels of the screen between two corners of a line
const CORNERS = 1000; // of a line, at most
const SIGN = { true: "#12733c", false: "#b3261e" };
const NEAR = 10; // pixels of the screen from the first corner at which a polygon closes

export class Painter {
  // `onChange()` is called after each stroke; `granularity()` says how coarse regions are. `ask(clicks)` gives
  // the labels that clicks, lines and boxes lead to; `begin()` makes the picture paintable, when it is clicked and is not yet;
  // `hover(place)` says what is under the pointer; `fail(error)` why a click came to nothing; `drawn()` is called after
  // each drawing.
  constructor(canvas, { onChange = () => {}, granularity = () => 0, ask, begin, hover = () => {}, fail = () => {}, drawn = () => {}, keepsZoom = false } = {}) {
    Object.assign(this, { canvas, onChange, granularity, ask, begin, hover, fail, drawn, keepsZoom });
    this.tool = "plus";
    this.moves = false; // whether the left button moves the picture, whatever the tool
    this.opacity = 120; // of what is painted, 0..255
    this.size = 24; // of the brush, in pixels of the screen
    this.value = 1; // what is painted
    this.classes = [];
    this.tree = null;
    this.layer = document.createElement("canvas");
    this.clear();
    for (const kind of ["pointerdown", "pointermove", "pointerup", "pointercancel", "pointerleave", "dblclick", "wheel"]) {
      canvas.addEventListener(kind, (event) => this[kind](event), { passive: false });
    }
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    new ResizeObserver(() => this.refit()).observe(canvas);
  }

  clear() {
    Object.assign(this, { picture: null, labels: null, polygon: [], undone: [], done: [], pointer: null, clicks: [], over: null });
    Object.assign(this, { drag: null, stroke: null, line: null, touches: new Map(), busy: 0 });
    this.drawSoon();
  }

  // Show a picture; `labels` (a byte each pixel) makes it paintable. What was painted on it and not
  // saved, `draft`, is one step of undo further.
  open(picture, labels = null, draft = null) {
    const same = this.picture === picture, view = this.keepsZoom ? this.view() : null;
    Object.assign(this, { picture, labels, polygon: [], undone: [], done: [] });
    this.tree = same ? this.tree : null;
    if (!same) { this.fit(); this.show(view); }
    this.rebase();
    if (draft) { this.keep(); this.labels = draft; }
    if (labels) this.tinted(); else this.cover(null);
  }

  // What is painted is what the server has: clicks count from here.
  rebase() {
    this.clicks = [];
    this.base = this.answered = this.labels && { clicks: this.clicks, labels: this.labels.slice() };
    for (const step of [...this.done, ...this.undone]) Object.assign(step, { clicks: this.clicks, answered: this.base });
  }

  // Lay an image of any size over the picture, or over a part of it.
  cover(image, over = null) {
    this.over = over;
    this.layer.width = image ? image.width : 1;
    this.layer.height = image ? image.height : 1;
    if (image) this.layer.getContext("2d").putImageData(image, 0, 0);
    this.drawSoon();
  }

  // The labels changed: they are coloured when next drawn, once a frame.
  tinted() {
    this.stale = true;
    this.drawSoon();
  }

  fit() {
    const box = this.canvas.getBoundingClientRect(), ratio = window.devicePixelRatio || 1;
    if (!box.width) return;
    this.canvas.width = Math.round(box.width * ratio);
    this.canvas.height = Math.round(box.height * ratio);
    if (this.picture) {
      const { width, height } = this.picture;
      const fitting = (w, h) => Math.min(this.canvas.width / w, this.canvas.height / h) * 0.98, frame = this.frame();
      this.scale = fitting(width, height);
      this.whole = fitting(frame.width, frame.height);
      this.x = (this.canvas.width - width * this.scale) / 2;
      this.y = (this.canvas.height - height * this.scale) / 2;
    }
    this.zoomed = false;
    this.drawSoon();
  }

  // Size of the whole picture, its scale on the canvas and where its corner is: also of a picture that is a part of it.
  frame() {
    const { picture, scale } = this, { whole, rect } = picture;
    if (!whole) return { width: picture.width, height: picture.height, scale, x: this.x, y: this.y, times: 1, rect: { x: 0, y: 0 } };
    const times = picture.width / rect.width, own = scale * times;
    return { width: whole.width, height: whole.height, scale: own, x: this.x - rect.x * own, y: this.y - rect.y * own, times, rect };
  }

  // Zoom and middle, in shares of the whole picture; null if all of it is shown.
  view() {
    if (!this.picture || !this.zoomed) return null;
    const { width, height, scale, x, y } = this.frame();
    return { scale: scale / this.whole, x: (this.canvas.width / 2 - x) / scale / width, y: (this.canvas.height / 2 - y) / scale / height };
  }

  // What is in sight of the whole picture, in its pixels; null if nothing is.
  sight() {
    const { width, height, scale, x, y } = this.frame();
    const [left, top] = [-x, -y].map((v) => Math.max(0, Math.floor(v / scale)));
    const right = Math.min(width, Math.ceil((this.canvas.width - x) / scale)), bottom = Math.min(height, Math.ceil((this.canvas.height - y) / scale));
    return right > left && bottom > top ? { x: left, y: top, width: right - left, height: bottom - top } : null;
  }

  show(view) {
    if (!view || !this.picture) return;
    const { width, height, times, rect } = this.frame(), scale = this.whole * view.scale;
    this.scale = scale / times;
    this.x = this.canvas.width / 2 - (view.x * width - rect.x) * scale;
    this.y = this.canvas.height / 2 - (view.y * height - rect.y) * scale;
    this.zoomed = true;
    this.drawSoon();
  }

  refit() {
    const view = this.view();
    this.fit();
    this.show(view);
  }

  zoom(factor, x = this.canvas.width / 2, y = this.canvas.height / 2) {
    this.x = x - (x - this.x) * factor;
    this.y = y - (y - this.y) * factor;
    this.scale *= factor;
    this.zoomed = true;
    this.drawSoon();
  }

  drawSoon() {
    if (!this.waiting) this.waiting = requestAnimationFrame(() => { this.waiting = 0; this.draw(); });
  }

  draw() {
    const pen = this.canvas.getContext("2d"), ratio = window.devicePixelRatio || 1;
    pen.setTransform(1, 0, 0, 1, 0, 0);
    pen.clearRect(0, 0, this.canvas.width, this.canvas.height);
    if (!this.picture) return;
    const { width, height } = this.picture;
    if (this.stale && this.labels) this.cover(tint(this.labels, height, width, this.classes, "overlay", this.opacity));
    this.stale = false;
    pen.imageSmoothingEnabled = this.scale < 12;
    if (this.picture.paint) this.picture.paint(pen, this.scale, this.scale, this.x, this.y);
    pen.setTransform(this.scale, 0, 0, this.scale, this.x, this.y);
    if (!this.picture.paint) pen.drawImage(this.picture, 0, 0);
    const over = this.over ?? { x: 0, y: 0, width, height };
    pen.drawImage(this.layer, over.x, over.y, over.width, over.height);
    pen.setTransform(1, 0, 0, 1, 0, 0);
    pen.lineWidth = 1.5 * ratio;
    const at = ([x, y]) => [x * this.scale + this.x, y * this.scale + this.y];
    const line = (path) => {
      for (const colour of ["rgba(0,0,0,.6)", "white"]) {
        pen.strokeStyle = colour;
        pen.setLineDash(colour === "white" ? [5 * ratio, 4 * ratio] : []);
        pen.stroke(path);
      }
    };
    if (this.polygon.length) {
      const path = new Path2D();
      for (const point of [...this.polygon, this.pointer ?? this.polygon[0]]) path.lineTo(...at(point));
      line(path);
      this.polygon.forEach((point, k) => {
        pen.beginPath();
        pen.arc(...at(point), (k ? 3.5 : this.closes(this.pointer) ? 8 : 5) * ratio, 0, 7);
        pen.fillStyle = this.tool === "hole" ? "#ffb4a2" : "white";
        pen.fill();
        pen.strokeStyle = "black";
        pen.setLineDash([]);
        pen.stroke();
      });
    }
    for (const { places, positive, box } of [...this.clicks, this.line].filter(Boolean)) {
      const [first, last] = [places[0], places.at(-1)].map(at), r = 6 * ratio;
      pen.setLineDash([]);
      if (box || places.length > 1) {
        const path = new Path2D();
        if (box) path.rect(...first, last[0] - first[0], last[1] - first[1]);
        else for (const place of places) path.lineTo(...at(place));
        for (const [width, colour] of [[5, "white"], [2.5, SIGN[positive]]]) {
          pen.lineWidth = width * ratio;
          pen.strokeStyle = colour;
          pen.stroke(path);
          if (box) pen.setLineDash([7 * ratio, 4 * ratio]);
        }
        continue;
      }
      const [cx, cy] = first;
      pen.beginPath();
      pen.arc(cx, cy, r, 0, 7);
      pen.fillStyle = SIGN[positive];
      pen.fill();
      pen.lineWidth = 1.8 * ratio;
      pen.strokeStyle = "white";
      pen.stroke();
      pen.beginPath();
      pen.moveTo(cx - r / 2, cy);
      pen.lineTo(cx + r / 2, cy);
      if (positive) { pen.moveTo(cx, cy - r / 2); pen.lineTo(cx, cy + r / 2); }
      pen.stroke();
    }
    pen.lineWidth = 1.5 * ratio;
    if (this.pointer && this.isPrompting() && !this.drag) {
      const [px, py] = at(this.pointer), path = new Path2D();
      for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
        path.moveTo(px + 5 * dx * ratio, py + 5 * dy * ratio);
        path.lineTo(px + 16 * dx * ratio, py + 16 * dy * ratio);
      }
      line(path);
    }
    if (this.labels && this.pointer && ["brush", "eraser"].includes(this.tool)) {
      const path = new Path2D();
      path.arc(...at(this.pointer), (this.size * ratio) / 2, 0, 7);
      line(path);
    }
    this.drawn();
  }

  place(event) {
    const box = this.canvas.getBoundingClientRect(), ratio = this.canvas.width / box.width;
    return [((event.clientX - box.left) * ratio - this.x) / this.scale, ((event.clientY - box.top) * ratio - this.y) / this.scale];
  }

  // Whether the tool says where the thing is, and the model finds its outline.
  isPrompting() { return ["plus", "minus", "box"].includes(this.tool); }

  // Whether a click there ends the polygon.
  closes(place) {
    if (!place || this.polygon.length < 3) return false;
    const [x, y] = this.polygon[0], ratio = window.devicePixelRatio || 1;
    return Math.hypot(x - place[0], y - place[1]) * this.scale <= NEAR * ratio;
  }

  pointerdown(event) {
    if (!this.picture) return;
    const place = this.place(event);
    this.canvas.setPointerCapture(event.pointerId);
    if (event.pointerType === "touch") {
      this.touches.set(event.pointerId, [event.clientX, event.clientY]);
      if (this.touches.size > 1) return this.pinch();
    }
    const prompts = this.isPrompting() && (this.labels || this.begin) && (!event.button || (event.button === 2 && this.tool !== "box"));
    if (this.moves || !this.tool || event.altKey || event.ctrlKey || (!prompts && (!this.labels || event.button))) {
      this.drag = { from: [event.clientX, event.clientY], x: this.x, y: this.y };
    } else if (prompts) {
      const positive = (this.tool !== "minus") !== (event.button === 2 || (event.shiftKey && this.tool !== "box"));
      this.line = { places: [place], positive, box: this.tool === "box", from: [event.clientX, event.clientY] };
    } else if (this.tool === "polygon" || this.tool === "hole") {
      if (this.closes(place)) this.closePolygon();
      else if (!event.detail || event.detail < 2) this.polygon.push(place);
    } else if (this.tool === "region") {
      this.region(place, event.shiftKey);
    } else {
      this.keep();
      this.stroke = place;
      this.brush(place, place);
    }
    this.pointer = place;
    this.drawSoon();
  }

  pointermove(event) {
    const place = this.place(event);
    if (this.touches.has(event.pointerId)) {
      this.touches.set(event.pointerId, [event.clientX, event.clientY]);
      if (this.touches.size > 1) return this.pinch();
    }
    if (this.drag) {
      const ratio = window.devicePixelRatio || 1;
      this.x = this.drag.x + (event.clientX - this.drag.from[0]) * ratio;
      this.y = this.drag.y + (event.clientY - this.drag.from[1]) * ratio;
      this.zoomed = true;
    } else if (this.line) {
      const { places, box, from } = this.line, ratio = window.devicePixelRatio || 1, [x, y] = places.at(-1);
      this.line.moved ||= Math.hypot(event.clientX - from[0], event.clientY - from[1]) > STILL;
      if (box) places[1] = place;
      else if (this.line.moved && Math.hypot(place[0] - x, place[1] - y) * this.scale > APART * ratio) places.push(place);
    } else if (this.stroke) {
      this.brush(this.stroke, place);
      this.stroke = place;
    }
    this.pointer = place;
    this.hover(place);
    this.drawSoon();
  }

  pointerup(event) {
    this.touches.delete(event.pointerId);
    if (!this.touches.size) this.pinched = null;
    if (this.stroke) this.onChange();
    const { line } = this;
    this.stroke = this.drag = this.line = null;
    this.drawSoon();
    if (line && event.type === "pointerup" && (line.moved || !line.box)) this.prompt(line);
  }

  pointercancel(event) { this.pointerup(event); }

  pointerleave() {
    this.pointer = null;
    this.hover(null);
    this.drawSoon();
  }

  // Two fingers move and zoom; what one of them began is taken back.
  pinch() {
    if (this.stroke) { this.step(this.done, []); this.stroke = null; }
    this.drag = this.line = null;
    const [[ax, ay], [bx, by]] = this.touches.values(), box = this.canvas.getBoundingClientRect();
    const ratio = this.canvas.width / box.width;
    const now = { x: ((ax + bx) / 2 - box.left) * ratio, y: ((ay + by) / 2 - box.top) * ratio, apart: Math.hypot(ax - bx, ay - by) };
    if (this.pinched) {
      this.x += now.x - this.pinched.x;
      this.y += now.y - this.pinched.y;
      this.zoom(now.apart / Math.max(1, this.pinched.apart), now.x, now.y);
    }
    this.pinched = now;
  }

  // The number of the class at a place; 0 outside and where there is none.
  at([x, y]) {
    const { width, height } = this.picture;
    return this.labels && x >= 0 && y >= 0 && x < width && y < height ? this.labels[Math.floor(y) * width + Math.floor(x)] : 0;
  }

  // Say that places are of the class that is chosen, or are not of the class that they show; or that there is
  // something of it in a box.
  async prompt({ places, positive, box }) {
    const { picture } = this, every = Math.ceil(places.length / CORNERS), outside = ([x, y]) => x < 0 || y < 0 || x >= picture.width || y >= picture.height;
    if (!box && places.every(outside)) return;
    if (!this.labels && this.begin) await this.begin().catch(this.fail);
    if (!this.labels) return;
    if (this.picture !== picture) places = places.map((place) => this.picture.from(place)); // it became a part of that
    const { width, height } = this.picture;
    if (box) places = places.map(([x, y]) => [Math.min(Math.max(x, 0), width), Math.min(Math.max(y, 0), height)]);
    else places = places.filter(([x, y], k) => x >= 0 && y >= 0 && x < width && y < height && k % every === 0);
    if (!places.length) return;
    this.keep();
    const number = (!positive && places.map((place) => this.at(place)).find(Boolean)) || this.value;
    this.clicks = [...this.clicks, { places, positive, number, box }];
    this.drawSoon();
    await this.answer();
  }

  // Have the labels that all clicks lead to; what they change is changed here, strokes elsewhere stay.
  async answer() {
    const { clicks, picture } = this, start = performance.now();
    let labels;
    this.canvas.classList.toggle("busy", Boolean(++this.busy));
    try {
      labels = clicks.length ? await this.ask(clicks) : this.base.labels;
    } catch (error) {
      if (this.picture === picture && this.clicks === clicks) this.step(this.done, []);
      return this.fail(error);
    } finally {
      this.canvas.classList.toggle("busy", Boolean(this.busy = Math.max(0, this.busy - 1)));
    }
    if (this.picture !== picture || this.clicks !== clicks || !this.labels) return; // a later one is on its way
    const was = this.answered.labels, last = clicks.at(-1);
    for (let i = 0; i < labels.length; i++) if (labels[i] !== was[i]) this.labels[i] = labels[i];
    for (const [x, y] of last && !last.box ? last.places : []) {
      const i = Math.floor(y) * picture.width + Math.floor(x);
      this.labels[i] = labels[i];
    }
    this.answered = { clicks, labels };
    this.latency = performance.now() - start;
    this.tinted();
    this.onChange();
  }

  dblclick() { this.closePolygon(); }

  wheel(event) {
    event.preventDefault();
    if (!this.picture) return;
    const box = this.canvas.getBoundingClientRect(), ratio = this.canvas.width / box.width;
    this.zoom(Math.exp(-event.deltaY / 400), (event.clientX - box.left) * ratio, (event.clientY - box.top) * ratio);
  }

  keep() {
    this.done.push({ labels: this.labels.slice(), clicks: this.clicks, answered: this.answered });
    if (this.done.length > STEPS) this.done.shift();
    this.undone = [];
  }

  step(from, to) {
    if (!this.labels || !from.length) return;
    to.push({ labels: this.labels, clicks: this.clicks, answered: this.answered });
    Object.assign(this, from.pop());
    this.tinted();
    this.onChange();
    if (this.clicks !== this.answered.clicks) return this.answer(); // its answer had not come then
  }

  undo() {
    if (!this.polygon.length) return this.step(this.done, this.undone);
    this.polygon.pop();
    this.drawSoon();
  }

  redo() { return this.step(this.undone, this.done); }

  // Everything within half the brush's width of the way from one place to the other.
  brush([x0, y0], [x1, y1]) {
    const { width, height } = this.picture, ratio = window.devicePixelRatio || 1;
    const radius = Math.max(0.5, (this.size * ratio) / this.scale / 2);
    const value = this.tool === "eraser" ? 0 : this.value, length = (x1 - x0) ** 2 + (y1 - y0) ** 2;
    const low = (a, b) => Math.max(0, Math.floor(Math.min(a, b) - radius));
    const high = (a, b, end) => Math.min(end - 1, Math.ceil(Math.max(a, b) + radius));
    for (let y = low(y0, y1); y <= high(y0, y1, height); y++) {
      for (let x = low(x0, x1); x <= high(x0, x1, width); x++) {
        const px = x + 0.5, py = y + 0.5;
        const t = length ? Math.min(1, Math.max(0, ((px - x0) * (x1 - x0) + (py - y0) * (y1 - y0)) / length)) : 0;
        if ((px - x0 - t * (x1 - x0)) ** 2 + (py - y0 - t * (y1 - y0)) ** 2 <= radius ** 2) {
          this.labels[y * width + x] = value;
        }
      }
    }
    this.tinted();
  }

  closePolygon() {
    if (this.polygon.length < 3) return;
    const { width, height } = this.picture, sheet = new OffscreenCanvas(width, height).getContext("2d");
    for (const point of this.polygon) sheet.lineTo(...point);
    sheet.fill("evenodd");
    const { data } = sheet.getImageData(0, 0, width, height);
    this.polygon = [];
    this.fill((i) => data[4 * i + 3] > 127, this.tool === "hole" ? 0 : this.value);
  }

  fill(inside, value) {
    this.keep();
    for (let i = 0; i < this.labels.length; i++) if (inside(i)) this.labels[i] = value;
    this.tinted();
    this.onChange();
  }

  // The whole cluster under a place; with shift it is added, or taken out if it is in.
  region([x, y], toggles) {
    const { width, height } = this.picture;
    if (!this.tree || x < 0 || y < 0 || x >= width || y >= height) return;
    const { h, w } = this.tree, some = this.granularity();
    const made = some ? mergesBelow(this.tree, some) : Math.max(0, h * w - REGIONS);
    const label = clusters(this.tree, made);
    const here = label[Math.floor((y * h) / height) * w + Math.floor((x * w) / width)];
    const inside = upsample(Float32Array.from(label, (k) => (k === here ? 1 : 0)), h, w, height, width);
    const taken = toggles && this.labels[Math.floor(y) * width + Math.floor(x)] === this.value;
    this.fill((i) => inside[i] > 0.5, taken ? 0 : this.value);
  }
}
