// A picture to look at and paint on: zoom, pan, brush, eraser, polygon, regions, undo.

import { clusters, mergesBelow, upsample } from "./layers.js";
import { tint } from "./view.js";

const STEPS = 40; // of undo
const REGIONS = 40; // clusters to click on while granularity is off

export class Painter {
  // `onChange()` is called after each stroke; `granularity()` says how coarse regions are.
  constructor(canvas, { onChange = () => {}, granularity = () => 0 } = {}) {
    Object.assign(this, { canvas, onChange, granularity });
    this.tool = "brush";
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
    new ResizeObserver(() => this.fit()).observe(canvas);
  }

  clear() {
    Object.assign(this, { picture: null, labels: null, polygon: [], undone: [], done: [], pointer: null });
    this.drawSoon();
  }

  // Show a picture; `labels` (a byte each pixel) makes it paintable. What was painted on it and not
  // saved, `draft`, is one step of undo further.
  open(picture, labels = null, draft = null) {
    const same = this.picture === picture;
    Object.assign(this, { picture, labels, polygon: [], undone: [], done: [] });
    this.tree = same ? this.tree : null;
    if (!same) this.fit();
    if (draft) { this.done.push(this.labels); this.labels = draft; }
    if (labels) this.tinted(); else this.cover(null);
  }

  // Lay an image of any size over the picture.
  cover(image) {
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
      this.scale = Math.min(this.canvas.width / width, this.canvas.height / height) * 0.98;
      this.x = (this.canvas.width - width * this.scale) / 2;
      this.y = (this.canvas.height - height * this.scale) / 2;
    }
    this.drawSoon();
  }

  zoom(factor, x = this.canvas.width / 2, y = this.canvas.height / 2) {
    this.x = x - (x - this.x) * factor;
    this.y = y - (y - this.y) * factor;
    this.scale *= factor;
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
    if (this.stale && this.labels) this.cover(tint(this.labels, height, width, this.classes));
    this.stale = false;
    pen.setTransform(this.scale, 0, 0, this.scale, this.x, this.y);
    pen.imageSmoothingEnabled = this.scale < 12;
    pen.drawImage(this.picture, 0, 0);
    pen.drawImage(this.layer, 0, 0, width, height);
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
    }
    if (this.labels && this.pointer && ["brush", "eraser"].includes(this.tool)) {
      const path = new Path2D();
      path.arc(...at(this.pointer), (this.size * ratio) / 2, 0, 7);
      line(path);
    }
  }

  place(event) {
    const box = this.canvas.getBoundingClientRect(), ratio = this.canvas.width / box.width;
    return [((event.clientX - box.left) * ratio - this.x) / this.scale, ((event.clientY - box.top) * ratio - this.y) / this.scale];
  }

  pointerdown(event) {
    if (!this.picture) return;
    const place = this.place(event);
    this.canvas.setPointerCapture(event.pointerId);
    if (!this.labels || event.button || event.altKey || event.ctrlKey) {
      this.drag = { from: [event.clientX, event.clientY], x: this.x, y: this.y };
    } else if (this.tool === "polygon") {
      if (!event.detail || event.detail < 2) this.polygon.push(place);
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
    if (this.drag) {
      const ratio = window.devicePixelRatio || 1;
      this.x = this.drag.x + (event.clientX - this.drag.from[0]) * ratio;
      this.y = this.drag.y + (event.clientY - this.drag.from[1]) * ratio;
    } else if (this.stroke) {
      this.brush(this.stroke, place);
      this.stroke = place;
    }
    this.pointer = place;
    this.drawSoon();
  }

  pointerup() {
    if (this.stroke) this.onChange();
    this.stroke = this.drag = null;
  }

  pointercancel() { this.pointerup(); }

  pointerleave() {
    this.pointer = null;
    this.drawSoon();
  }

  dblclick() { this.closePolygon(); }

  wheel(event) {
    event.preventDefault();
    if (!this.picture) return;
    const box = this.canvas.getBoundingClientRect(), ratio = this.canvas.width / box.width;
    this.zoom(Math.exp(-event.deltaY / 400), (event.clientX - box.left) * ratio, (event.clientY - box.top) * ratio);
  }

  keep() {
    this.done.push(this.labels.slice());
    if (this.done.length > STEPS) this.done.shift();
    this.undone = [];
  }

  step(from, to) {
    if (!this.labels || !from.length) return;
    to.push(this.labels);
    this.labels = from.pop();
    this.tinted();
    this.onChange();
  }

  undo() { this.step(this.done, this.undone); }

  redo() { this.step(this.undone, this.done); }

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
    this.fill((i) => data[4 * i + 3] > 127, this.value);
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
