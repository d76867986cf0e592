"use strict";
// The resize of tf.image.resize. The browser's own gives other pixels. Places are rounded to 32 bits, as TensorFlow's.

const { fround } = Math;

const KERNELS = {
  bilinear: { radius: 1, at: (x) => Math.max(0, 1 - x) },
  bicubic: {
    radius: 2, // Keys 1981, a = -1/2
    at: (x) => (x >= 2 ? 0 : x >= 1 ? ((-0.5 * x + 2.5) * x - 4) * x + 2 : (1.5 * x - 2.5) * x * x + 1),
  },
  lanczos3: {
    radius: 3,
    at: (x) => (x > 3 ? 0 : x <= 1e-3 ? 1 : (3 * Math.sin(Math.PI * x) * Math.sin((Math.PI * x) / 3)) / (Math.PI * x) ** 2),
  },
};

// What each of `size` new places takes of `length` old ones: {first, weights}.
function shares(length, size, method, antialias) {
  return Array.from({ length: size }, (_, place) => {
    const [first, weights] = method === "area" ? overlaps(length, size, place) : samples(length, size, place, KERNELS[method], antialias);
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    return { first, weights: weights.map((weight) => weight / total) };
  });
}

function overlaps(length, size, place) {
  const step = fround(length / size);
  const [low, high] = [fround(place * step), fround((place + 1) * step)];
  const [first, end] = [Math.floor(low), Math.min(Math.ceil(high), length)];
  const weights = [];
  for (let old = first; old < end; old++) weights.push(Math.min(old + 1, high) - Math.max(old, low));
  return [first, weights];
}

function samples(length, size, place, kernel, antialias) {
  const step = fround(1 / fround(size / length));
  const width = antialias ? Math.max(step, 1) : 1; // where the image becomes smaller the kernel becomes wider
  const centre = fround((place + 0.5) * step);
  const within = (old) => Math.min(Math.max(old, 0), length - 1);
  const first = within(Math.ceil(centre - kernel.radius * width - 0.5));
  const last = within(Math.floor(centre + kernel.radius * width - 0.5));
  const weights = [];
  for (let old = first; old <= last; old++) weights.push(kernel.at(Math.abs(old + 0.5 - centre) / width));
  return [first, weights];
}

// RGBA bytes [height, width, 4] -> the prepared image, Float32Array [size, size, 3] in valueRange.
function prepared(rgba, width, height, { image_size: size, resize_method: method, antialias, value_range: [low, high] }) {
  const columns = shares(width, size, method, antialias);
  const row = new Float64Array(width * 3);
  const found = new Float32Array(size * size * 3);
  const factor = (high - low) / 255;
  shares(height, size, method, antialias).forEach(({ first, weights }, y) => {
    row.fill(0);
    weights.forEach((weight, place) => {
      let at = (first + place) * width * 4;
      for (let to = 0; to < row.length; to += 3, at += 4) {
        row[to] += weight * rgba[at];
        row[to + 1] += weight * rgba[at + 1];
        row[to + 2] += weight * rgba[at + 2];
      }
    });
    columns.forEach((column, x) => {
      for (let channel = 0; channel < 3; channel++) {
        let sum = 0;
        column.weights.forEach((weight, place) => (sum += weight * row[(column.first + place) * 3 + channel]));
        found[(y * size + x) * 3 + channel] = Math.min(Math.max(sum, 0), 255) * factor + low;
      }
    });
  });
  return found;
}
