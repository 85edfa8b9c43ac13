// Sets of a picture's pixels. A box is [left, top, right, bottom], the last two outside; a shape is a box and a byte for
// each of its pixels, row by row. A pixel belongs to what its middle lies in. Points are [x, y], in pixels.
export const clip = ([left, top, right, bottom], [width, height]) => [Math.max(0, left), Math.max(0, top), Math.min(width, right), Math.min(height, bottom)];
export const grow = ([left, top, right, bottom], by) => [left - by, top - by, right + by, bottom + by];
export const unite = (a, b) => (a && b ? [Math.min(a[0], b[0]), Math.min(a[1], b[1]), Math.max(a[2], b[2]), Math.max(a[3], b[3])] : a ?? b);
export const isEmpty = ([left, top, right, bottom]) => right <= left || bottom <= top;

export function boxOf(points) {
  const box = [Infinity, Infinity, -Infinity, -Infinity];
  for (const [x, y] of points) {
    box[0] = Math.min(box[0], Math.floor(x)); box[1] = Math.min(box[1], Math.floor(y));
    box[2] = Math.max(box[2], Math.ceil(x)); box[3] = Math.max(box[3], Math.ceil(y));
  }
  return box;
}

export function boxOfMask(mask, [width, height]) { // of what is set; null where nothing is
  const box = [width, height, 0, 0];
  for (let y = 0, n = 0; y < height; y++) for (let x = 0; x < width; x++, n++) {
    if (!mask[n]) continue;
    if (x < box[0]) box[0] = x;
    if (x >= box[2]) box[2] = x + 1;
    if (y < box[1]) box[1] = y;
    box[3] = y + 1;
  }
  return isEmpty(box) ? null : box;
}

export function strokeShape(from, to, size, stretch, picture) { // a round brush, drawn along a line, and the pixels at its ends; `stretch`: a pixel's height by its width
  const isEnd = (x, y) => [from, to].some(([u, v]) => Math.floor(u) === x && Math.floor(v) === y);
  const across = size / 2, down = across / stretch, box = clip(boxOf([from, to].flatMap(([x, y]) => [[x - across, y - down], [x + across, y + down]])), picture);
  if (isEmpty(box)) return { box, inside: new Uint8Array(0) };
  const wide = box[2] - box[0], inside = new Uint8Array(wide * (box[3] - box[1]));
  const dx = to[0] - from[0], dy = (to[1] - from[1]) * stretch, long = dx * dx + dy * dy, most = across * across;
  for (let y = box[1], n = 0; y < box[3]; y++) for (let x = box[0]; x < box[2]; x++, n++) {
    const px = x + 0.5 - from[0], py = (y + 0.5 - from[1]) * stretch, t = long ? Math.min(1, Math.max(0, (px * dx + py * dy) / long)) : 0;
    inside[n] = (px - t * dx) ** 2 + (py - t * dy) ** 2 <= most || isEnd(x, y);
  }
  return { box, inside };
}

export function fillRings(rings, box) { // bytes of a box: what lies within an odd number of rings
  const wide = box[2] - box[0], inside = new Uint8Array(Math.max(0, wide * (box[3] - box[1])));
  for (let y = box[1]; y < box[3]; y++) {
    const middle = y + 0.5, crossings = [];
    for (const ring of rings) ring.forEach(([bx, by], n) => {
      const [ax, ay] = ring[(n || ring.length) - 1];
      if (ay <= middle !== by <= middle) crossings.push(ax + ((middle - ay) * (bx - ax)) / (by - ay));
    });
    crossings.sort((a, b) => a - b);
    for (let n = 0; n + 1 < crossings.length; n += 2) {
      const start = Math.max(box[0], Math.ceil(crossings[n] - 0.5)), end = Math.min(box[2], Math.ceil(crossings[n + 1] - 0.5));
      if (end > start) inside.fill(1, (y - box[1]) * wide + start - box[0], (y - box[1]) * wide + end - box[0]);
    }
  }
  return inside;
}

export function connected(isPart, start, [width, height]) { // what hangs together with a pixel, side by side; `open`: it reaches the picture's edge
  const seen = new Uint8Array(width * height), stack = [start];
  let open = false;
  seen[start] = 1;
  while (stack.length) {
    const n = stack.pop(), x = n % width, y = (n - x) / width;
    if (x === 0 || y === 0 || x === width - 1 || y === height - 1) open = true;
    if (x > 0 && !seen[n - 1] && isPart(n - 1)) { seen[n - 1] = 1; stack.push(n - 1); }
    if (x < width - 1 && !seen[n + 1] && isPart(n + 1)) { seen[n + 1] = 1; stack.push(n + 1); }
    if (y > 0 && !seen[n - width] && isPart(n - width)) { seen[n - width] = 1; stack.push(n - width); }
    if (y < height - 1 && !seen[n + width] && isPart(n + width)) { seen[n + width] = 1; stack.push(n + width); }
  }
  return { inside: seen, open };
}

export function filledHoles(mask, [width, height]) { // with what cannot be reached from outside, side by side
  const wide = width + 2, padded = new Uint8Array(wide * (height + 2));
  for (let y = 0; y < height; y++) padded.set(mask.subarray(y * width, (y + 1) * width), (y + 1) * wide + 1);
  const outside = connected((n) => !padded[n], 0, [wide, height + 2]).inside, filled = new Uint8Array(width * height);
  for (let y = 0, n = 0; y < height; y++) for (let x = 0; x < width; x++, n++) filled[n] = !outside[(y + 1) * wide + x + 1];
  return filled;
}

export function smoothed(mask, [width, height], radius) { // set where most of a window, averaged twice, is set; edges go on outside
  let sums = Uint32Array.from(mask);
  for (const [count, step, lines, skip] of [[width, 1, height, width], [height, width, width, 1]]) {
    for (let pass = 0; pass < 2; pass++) {
      const next = new Uint32Array(sums.length);
      for (let line = 0; line < lines; line++) {
        const at = (n) => line * skip + Math.min(count - 1, Math.max(0, n)) * step;
        let sum = 0;
        for (let n = -radius; n <= radius; n++) sum += sums[at(n)];
        for (let n = 0; n < count; n++) { next[at(n)] = sum; sum += sums[at(n + radius + 1)] - sums[at(n - radius)]; }
      }
      sums = next;
    }
  }
  const half = (2 * radius + 1) ** 4 / 2;
  return Uint8Array.from(sums, (sum) => sum > half);
}

const STEPS = [[1, 0], [0, 1], [-1, 0], [0, -1]]; // right, down, left, up: what is set lies on the right hand

export function trace(mask, [width, height]) { // rings around and within what is set, through the middles of its pixels' sides
  const set = (x, y) => x >= 0 && y >= 0 && x < width && y < height && mask[y * width + x];
  const wide = width + 1, ways = new Uint8Array(wide * (height + 1)), rings = [];
  for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) {
    if (!mask[y * width + x]) continue;
    if (!set(x, y - 1)) ways[y * wide + x] |= 1;
    if (!set(x + 1, y)) ways[y * wide + x + 1] |= 2;
    if (!set(x, y + 1)) ways[(y + 1) * wide + x + 1] |= 4;
    if (!set(x - 1, y)) ways[(y + 1) * wide + x] |= 8;
  }
  for (let start = 0; start < ways.length; start++) {
    while (ways[start]) {
      const ring = [];
      let at = start, way = 0;
      do { // to the right first, so that corners that touch part
        way = [1, 0, 3, 2].map((by) => (way + by) & 3).find((next) => ways[at] & (1 << next));
        ways[at] &= ~(1 << way);
        ring.push([(at % wide) + STEPS[way][0] / 2, Math.floor(at / wide) + STEPS[way][1] / 2]);
        at += STEPS[way][0] + STEPS[way][1] * wide;
      } while (at !== start || ways[at] & (1 << ((way + 1) & 3)));
      rings.push(ring);
    }
  }
  return rings;
}

export function simplified(ring, tolerance) { // fewer corners, none of those left out farther from the line than the tolerance (Douglas and Peucker)
  if (ring.length < 4) return ring;
  const far = ring.reduce((most, [x, y], n) => (Math.hypot(x - ring[0][0], y - ring[0][1]) > Math.hypot(ring[most][0] - ring[0][0], ring[most][1] - ring[0][1]) ? n : most), 0);
  const kept = new Set([0, far]), parts = [[0, far], [far, ring.length]];
  while (parts.length) {
    const [first, last] = parts.pop(), a = ring[first], b = ring[last % ring.length];
    let most = tolerance, at = -1;
    for (let n = first + 1; n < last; n++) {
      const away = segmentDistance(ring[n], a, b);
      if (away > most) { most = away; at = n; }
    }
    if (at >= 0) { kept.add(at); parts.push([first, at], [at, last]); }
  }
  return [...kept].sort((a, b) => a - b).map((n) => ring[n]);
}

export function segmentDistance([x, y], [ax, ay], [bx, by]) {
  const dx = bx - ax, dy = by - ay, long = dx * dx + dy * dy, t = long ? Math.min(1, Math.max(0, ((x - ax) * dx + (y - ay) * dy) / long)) : 0;
  return Math.hypot(x - ax - t * dx, y - ay - t * dy);
}
