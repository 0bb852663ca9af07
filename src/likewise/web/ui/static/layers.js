// The same arithmetic as project/score_maps.py, in the same order: what is seen is what is written.

const NATS = 20;

// See ScoreMaps.blob: C classes on a grid of h × w patches, and the tree of their merges; none of an image that was
// read in tiles. `covered`: the shares of the grid that the image takes, down and across.
export function parse(data) {
  const [C, h, w, height, width, merges, down, across] = new Uint32Array(data, 0, 8);
  let at = 32;
  const next = (Kind, count) => new Kind(data, (at += 4 * count) - 4 * count, count);
  return {
    C, h, w, height, width, covered: [height / down, width / across], tiled: !merges && h * w > 1,
    scores: next(Float32Array, C * h * w),
    confidences: next(Float32Array, C),
    distances: next(Float32Array, merges),
    pairs: next(Uint32Array, 2 * merges),
    wholes: next(Int32Array, C),
    numbers: next(Uint32Array, C), // of the classes, in masks
  };
}

// How many merges lie below a distance (they rise).
export function mergesBelow(layers, granularity) {
  const limit = Math.fround(granularity);
  let low = 0, high = layers.distances.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (layers.distances[middle] < limit) low = middle + 1; else high = middle;
  }
  return low;
}

// The cluster of every patch after the first merges: the number of its last merge.
export function clusters(layers, made) {
  const n = layers.h * layers.w, top = new Int32Array(n + made);
  for (let k = 0; k < top.length; k++) top[k] = k;
  for (let k = made - 1; k >= 0; k--) {
    top[layers.pairs[2 * k]] = top[n + k];
    top[layers.pairs[2 * k + 1]] = top[n + k];
  }
  return top.subarray(0, n);
}

// Scores as the sliders say; above 0.5 is foreground.
export function moved(layers, { threshold, granularity }) {
  const n = layers.h * layers.w, made = mergesBelow(layers, granularity);
  const result = new Float32Array(layers.C * n), less = threshold / NATS;
  const label = made ? clusters(layers, made) : null;
  for (let c = 0; c < layers.C; c++) {
    const scores = layers.scores.subarray(c * n, (c + 1) * n);
    if (!label) {
      for (let i = 0; i < n; i++) result[c * n + i] = scores[i] - less;
      continue;
    }
    const sum = new Float64Array(n + made), count = new Float64Array(n + made);
    for (let i = 0; i < n; i++) { sum[label[i]] += scores[i]; count[label[i]]++; }
    for (let i = 0; i < n; i++) result[c * n + i] = sum[label[i]] / count[label[i]] - less;
  }
  return result;
}

function between(n, m, covered) {
  const before = new Int32Array(m), after = new Int32Array(m), share = new Float64Array(m);
  for (let k = 0; k < m; k++) {
    const place = Math.max(((k + 0.5) * (n * covered)) / m - 0.5, 0);
    before[k] = Math.floor(place);
    after[k] = Math.min(before[k] + 1, n - 1);
    share[k] = place - before[k];
  }
  return { before, after, share };
}

// (h, w), of which a share is covered, → (height, width) bilinear, aligned at pixel areas; along the rows first.
export function upsample(values, h, w, height, width, covered = [1, 1]) {
  const x = between(w, width, covered[1]), y = between(h, height, covered[0]);
  const rows = new Float64Array(h * width), result = new Float64Array(height * width);
  for (let r = 0; r < h; r++) {
    for (let k = 0; k < width; k++) {
      const left = values[r * w + x.before[k]];
      rows[r * width + k] = left + (values[r * w + x.after[k]] - left) * x.share[k];
    }
  }
  for (let k = 0; k < height; k++) {
    const above = y.before[k] * width, below = y.after[k] * width, share = y.share[k];
    for (let c = 0; c < width; c++) {
      result[k * width + c] = rows[above + c] + (rows[below + c] - rows[above + c]) * share;
    }
  }
  return result;
}

// What is drawn at any size: 0 nothing, k the k-th class; of the classes that are parts of the same
// the highest score wins, inside their whole.
export function shown(layers, sliders, height, width) {
  const scores = moved(layers, sliders), n = layers.h * layers.w;
  const labels = new Uint8Array(height * width), { wholes, confidences } = layers;
  const depth = (c) => (wholes[c] < 0 ? 0 : 1 + depth(wholes[c]));
  const order = [...confidences.keys()];
  order.sort((a, b) => depth(a) - depth(b) || confidences[b] - confidences[a]);
  const owners = new Map(), bests = new Map();
  for (const c of order) {
    const whole = wholes[c], own = scores.subarray(c * n, (c + 1) * n);
    if (!owners.has(whole)) {
      owners.set(whole, new Uint8Array(labels.length));
      bests.set(whole, new Float64Array(labels.length).fill(0.5));
    }
    if (!own.some((value) => value > 0.5)) continue;
    const values = upsample(own, layers.h, layers.w, height, width, layers.covered);
    const owner = owners.get(whole), best = bests.get(whole);
    const around = whole < 0 ? null : owners.get(wholes[whole]);
    for (let i = 0; i < values.length; i++) {
      if (values[i] > best[i] && (!around || around[i] === whole + 1)) {
        owner[i] = c + 1;
        best[i] = values[i];
      }
    }
  }
  for (const owner of owners.values()) {  // parts after their wholes
    for (let i = 0; i < labels.length; i++) if (owner[i]) labels[i] = owner[i];
  }
  return labels;
}

// A part of an image as the sliders say: layers of its own, and what its patches cover of the image, in pixels.
export function cut(layers, sliders, { x, y, width, height }) {
  const { C, h, w, covered } = layers, high = layers.height / covered[0] / h, wide = layers.width / covered[1] / w;
  const top = Math.floor(y / high), rows = Math.min(h, Math.ceil((y + height) / high)) - top;
  const left = Math.floor(x / wide), columns = Math.min(w, Math.ceil((x + width) / wide)) - left;
  const all = moved(layers, sliders), scores = new Float32Array(C * rows * columns);
  for (let c = 0; c < C; c++) {
    for (let r = 0; r < rows; r++) {
      const from = (c * h + top + r) * w + left;
      scores.set(all.subarray(from, from + columns), (c * rows + r) * columns);
    }
  }
  const rect = { x: left * wide, y: top * high, width: Math.min(columns * wide, layers.width - left * wide), height: Math.min(rows * high, layers.height - top * high) };
  const own = { h: rows, w: columns, height: rect.height, width: rect.width, covered: [rect.height / rows / high, rect.width / columns / wide] };
  return { rect, layers: { ...layers, ...own, scores, distances: [], pairs: [] } };
}

// The score of the class of a number, or of 0 the highest of any, at any size.
export function heat(layers, sliders, height, width, number = 0) {
  const scores = moved(layers, sliders), n = layers.h * layers.w, top = new Float32Array(n).fill(-1);
  layers.numbers.forEach((k, c) => {
    if (!number || k === number) for (let i = 0; i < n; i++) top[i] = Math.max(top[i], scores[c * n + i]);
  });
  return upsample(top, layers.h, layers.w, height, width, layers.covered);
}
