// Pictures larger than what the page shows at once: what is in sight is drawn of tiles, at the level that the zoom needs.

import { get } from "./api.js";

export const SHOWN = 1600; // pixels of the longer side of a picture that is shown, or painted on, at once
const TILE = 512, KEPT = 96; // pixels of a tile a side; tiles that are kept: 1 MB each

// The picture of a reference or target: an image, or a pyramid of a large one; `come()` when a tile has come.
// `finely`: a pyramid of a smaller one too.
export async function openPicture(base, id, version, come, finely) {
  const image = new Image();
  image.src = `${base}/picture?side=${SHOWN}&v=${version}`;
  const [size] = await Promise.all([get(`/api/pictures/${id}/size?v=${version}`), image.decode()]);
  if (Math.max(size.width, size.height) <= SHOWN && !(await finely)) return image;
  return new Pyramid(image, size, (level, x, y) => `/api/pictures/${id}/tile?level=${level}&x=${x}&y=${y}&v=${version}`, come);
}

export class Pyramid {
  // `image`: all of it, small; `address(level, x, y)`: of a tile of 2^level pixels a pixel.
  constructor(image, { width, height }, address, come) {
    Object.assign(this, { image, width, height, address, come, tiles: new Map() });
  }

  tile(level, x, y) {
    const key = `${level} ${x} ${y}`, found = this.tiles.get(key) ?? Object.assign(new Image(), { src: this.address(level, x, y), onload: this.come });
    this.tiles.delete(key); // the last one used is the last one to go
    this.tiles.set(key, found);
    if (this.tiles.size > KEPT) this.tiles.delete(this.tiles.keys().next().value);
    return found;
  }

  // Draw what a canvas shows of it: a pixel of it is (sx, sy) large, its corner at x, y.
  paint(pen, sx, sy, x, y) {
    pen.setTransform(sx, 0, 0, sy, x, y);
    pen.drawImage(this.image, 0, 0, this.width, this.height);
    if (sx <= this.image.width / this.width || this.image.width === this.width) return;
    const level = Math.max(0, Math.floor(Math.log2(1 / sx))), side = TILE * 2 ** level;
    const between = (from, shown, length, scale) => [
      Math.max(0, Math.floor(-from / scale / side)), Math.ceil(Math.min(length, (shown - from) / scale) / side),
    ];
    const [top, bottom] = between(y, pen.canvas.height, this.height, sy), [left, right] = between(x, pen.canvas.width, this.width, sx);
    for (let row = top; row < bottom; row++) {
      for (let column = left; column < right; column++) {
        const tile = this.tile(level, column, row), step = 2 ** level;
        if (tile.naturalWidth) pen.drawImage(tile, column * side, row * side, tile.naturalWidth * step, tile.naturalHeight * step);
      }
    }
  }
}

// A part of a pyramid to paint on, (width, height) pixels of its own; `rect`: what it is in the whole.
export class Part {
  constructor(whole, rect, width, height) { Object.assign(this, { whole, rect, width, height }); }

  // A place of the whole in the part.
  from([x, y]) { return [((x - this.rect.x) * this.width) / this.rect.width, ((y - this.rect.y) * this.height) / this.rect.height]; }

  paint(pen, sx, sy, x, y) {
    const kx = (sx * this.width) / this.rect.width, ky = (sy * this.height) / this.rect.height;
    this.whole.paint(pen, kx, ky, x - this.rect.x * kx, y - this.rect.y * ky);
    pen.setTransform(1, 0, 0, 1, 0, 0);
    pen.fillStyle = "rgba(0, 0, 0, .45)"; // around it nothing is painted
    pen.beginPath();
    pen.rect(0, 0, pen.canvas.width, pen.canvas.height);
    pen.rect(x, y, this.width * sx, this.height * sy);
    pen.fill("evenodd");
  }
}

// A rectangle in a picture with at least so many pixels around it, or a share of its sides.
export function around({ x, y, width, height }, picture, share, least = 0) {
  const grown = (from, length, end) => {
    const more = Math.ceil(Math.max(share * length, (least - length) / 2, 0)), first = Math.max(0, from - more);
    return [first, Math.min(end, from + length + more) - first];
  };
  const [left, wide] = grown(x, width, picture.width), [top, high] = grown(y, height, picture.height);
  return { x: left, y: top, width: wide, height: high };
}

// As the server is asked for a part.
export const asked = (rect) => (rect ? `&part=${rect.x}&part=${rect.y}&part=${rect.width}&part=${rect.height}` : "");
