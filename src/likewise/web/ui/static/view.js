// From labels and scores to colours over a picture.

export const NEGATIVE = 255;
export const MODES = ["overlay", "outline", "heat", "original"];

const rgb = (colour) => [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));

// Labels (numbers of classes) as an image; `opaque` 0..255.
export function tint(labels, height, width, classes, mode = "overlay", opaque = 120) {
  const image = new ImageData(width, height), pixels = new Uint32Array(image.data.buffer);
  const word = ([r, g, b], alpha) => ((alpha << 24) | (b << 16) | (g << 8) | r) >>> 0;
  const inner = new Uint32Array(256), edge = new Uint32Array(256);
  for (const { colour, number } of classes) {
    inner[number] = mode === "outline" ? 0 : word(rgb(colour), opaque);
    edge[number] = word(rgb(colour), 255);
  }
  inner[NEGATIVE] = word([128, 128, 128], 170);
  edge[NEGATIVE] = word([60, 60, 60], 255);
  const wide = Math.max(1, Math.round(Math.min(width, height) / (mode === "outline" ? 160 : 320)));
  for (let y = 0, i = 0; y < height; y++) {
    for (let x = 0; x < width; x++, i++) {
      const k = labels[i];
      if (!k) continue;
      const isEdge =
        (x >= wide && labels[i - wide] !== k) || (x + wide < width && labels[i + wide] !== k) ||
        (y >= wide && labels[i - wide * width] !== k) ||
        (y + wide < height && labels[i + wide * width] !== k);
      pixels[i] = isEdge ? edge[k] : inner[k];
    }
  }
  return image;
}

// Scores 0..1 as colours from blue over white (the threshold) to red.
export function thermal(values, height, width) {
  const image = new ImageData(width, height), pixels = image.data;
  for (let i = 0; i < values.length; i++) {
    const v = Math.min(1, Math.max(0, values[i])), far = Math.abs(v - 0.5) * 2;
    pixels[4 * i] = v > 0.5 ? 235 : 245 - 215 * far;
    pixels[4 * i + 1] = v > 0.5 ? 240 - 200 * far : 245 - 155 * far;
    pixels[4 * i + 2] = v > 0.5 ? 235 - 200 * far : 245 - 35 * far;
    pixels[4 * i + 3] = 190;
  }
  return image;
}

// The nearest of (h, w) for every pixel of (height, width).
export function nearest(labels, h, w, height, width) {
  const result = new Uint8Array(height * width);
  for (let y = 0, i = 0; y < height; y++) {
    const row = Math.floor(((y + 0.5) * h) / height) * w;
    for (let x = 0; x < width; x++, i++) result[i] = labels[row + Math.floor(((x + 0.5) * w) / width)];
  }
  return result;
}
