// Edits of a label volume: one byte for each voxel, i fastest. What is undone is kept as runs of voxels, never as volumes.

const MAX_STEPS = 200, MAX_BYTES = 128e6, MAX_REGION = 40e6, TIE = 1e-6;

class Runs { // start, length and old << 8 | new of each run, in the order in which they were written
  constructor() { this.words = new Uint32Array(192); this.count = 0; }
  add(at, change) {
    const { words, count } = this;
    if (count && words[count - 1] === change && words[count - 3] + words[count - 2] === at) { words[count - 2]++; return; }
    if (count + 3 > words.length) { this.words = new Uint32Array(2 * words.length); this.words.set(words); }
    this.words.set([at, 1, change], count);
    this.count += 3;
  }
}

export class LabelVolume {
  constructor(labels, dims, spacing) { // dims: voxels along i, j, k; spacing: mm
    Object.assign(this, { labels, dims, spacing, strides: [1, dims[0], dims[0] * dims[1]], locked: new Uint8Array(256) });
    [this.steps, this.undone, this.step] = [[], [], null];
  }

  // Steps

  begin() { this.step = { runs: new Runs(), low: [...this.dims], high: [-1, -1, -1], values: new Set() }; }

  touch(low, high) { // the box, both ends in it, that is about to be written
    const { step } = this;
    for (const n of [0, 1, 2]) { step.low[n] = Math.min(step.low[n], low[n]); step.high[n] = Math.max(step.high[n], high[n]); }
  }

  write(at, value) {
    const old = this.labels[at];
    if (old === value || this.locked[old]) return;
    this.labels[at] = value;
    this.step.runs.add(at, (old << 8) | value);
  }

  end() { // the step, or null where it changed nothing
    const { step } = this, { runs } = step;
    this.step = null;
    if (!runs.count) return null;
    step.words = runs.words.slice(0, runs.count);
    delete step.runs;
    for (let n = 2; n < step.words.length; n += 3) step.values.add(step.words[n] >> 8).add(step.words[n] & 255);
    this.undone = [];
    this.steps.push(step);
    let bytes = this.steps.reduce((sum, { words }) => sum + words.byteLength, 0);
    while (this.steps.length > 1 && (this.steps.length > MAX_STEPS || bytes > MAX_BYTES)) bytes -= this.steps.shift().words.byteLength;
    return step;
  }

  cancel() { // take back what the step under way has written
    const { runs, low, high } = this.step;
    this.replay(runs.words.subarray(0, runs.count), true);
    this.step = null;
    return { low, high };
  }

  undo() {
    const step = this.steps.pop();
    if (!step) return null;
    this.undone.push(step);
    this.replay(step.words, true);
    return step;
  }

  redo() {
    const step = this.undone.pop();
    if (!step) return null;
    this.steps.push(step);
    this.replay(step.words, false);
    return step;
  }

  replay(words, back) {
    const last = words.length - 3;
    for (let n = 0; n <= last; n += 3) {
      const at = back ? last - n : n;
      this.labels.fill(back ? words[at + 2] >> 8 : words[at + 2] & 255, words[at], words[at] + words[at + 1]);
    }
  }

  // Places

  index([i, j, k]) { return i + this.strides[1] * j + this.strides[2] * k; }
  place(at) { const k = Math.floor(at / this.strides[2]), rest = at - k * this.strides[2]; return [rest % this.dims[0], Math.floor(rest / this.dims[0]), k]; }
  inside(voxel) { return voxel.every((v, n) => v >= 0 && v < this.dims[n]); }

  box(value) { // the smallest box around a value, or null
    const { labels, dims: [di, dj, dk] } = this, low = [di, dj, dk], high = [-1, -1, -1];
    for (let at = labels.indexOf(value); at >= 0;) {
      const row = Math.floor(at / di), end = (row + 1) * di, last = labels.subarray(at, end).lastIndexOf(value) + at;
      [[at % di, last % di], [row % dj, row % dj], [Math.floor(row / dj), Math.floor(row / dj)]].forEach(([first, final], n) => {
        low[n] = Math.min(low[n], first);
        high[n] = Math.max(high[n], final);
      });
      at = labels.indexOf(value, end);
    }
    return high[0] < 0 ? null : { low, high };
  }

  // Tools; each writes into the step under way

  capsule(a, b, radius, normal, value, may) { // voxels whose middle lies within `radius` mm of the way from a to b
    const { dims, spacing, strides } = this;
    const low = [], high = [];
    for (const n of [0, 1, 2]) {
      const reach = n === normal ? 0 : radius / spacing[n];
      low[n] = Math.max(0, n === normal ? Math.round(b[n]) : Math.ceil(Math.min(a[n], b[n]) - reach));
      high[n] = Math.min(dims[n] - 1, n === normal ? Math.round(b[n]) : Math.floor(Math.max(a[n], b[n]) + reach));
    }
    const way = [0, 1, 2].map((n) => (n === normal ? 0 : (b[n] - a[n]) * spacing[n]));
    const length2 = way[0] ** 2 + way[1] ** 2 + way[2] ** 2, radius2 = radius ** 2 + TIE;
    const put = (at) => { if (!may || may(at)) this.write(at, value); };
    if (low.every((v, n) => v <= high[n])) {
      this.touch(low, high);
      const [si, sj, sk] = spacing.map((edge, n) => (n === normal ? 0 : edge)), [wi, wj, wk] = way;
      for (let k = low[2]; k <= high[2]; k++) for (let j = low[1]; j <= high[1]; j++) {
        const z = (k - a[2]) * sk, y = (j - a[1]) * sj, row = strides[1] * j + strides[2] * k;
        for (let i = low[0]; i <= high[0]; i++) {
          const x = (i - a[0]) * si, along = length2 ? Math.min(1, Math.max(0, (x * wi + y * wj + z * wk) / length2)) : 0;
          if ((x - along * wi) ** 2 + (y - along * wj) ** 2 + (z - along * wk) ** 2 <= radius2) put(row + i);
        }
      }
    }
    const under = b.map(Math.round); // the voxel that is pointed at, however small the brush
    if (!this.inside(under)) return [low, high];
    this.touch(under, under);
    put(this.index(under));
    return [low.map((v, n) => Math.min(v, under[n])), high.map((v, n) => Math.max(v, under[n]))];
  }

  polygon(points, normal, slice, value, may) { // voxels of a slice whose middle lies within a closed line, by even and odd
    const [u, v] = [0, 1, 2].filter((n) => n !== normal);
    const row = (n) => [Math.max(0, Math.ceil(Math.min(...points.map((p) => p[n])))), Math.min(this.dims[n] - 1, Math.floor(Math.max(...points.map((p) => p[n]))))];
    const [[u0, u1], [v0, v1]] = [row(u), row(v)];
    if (u0 > u1 || v0 > v1) return;
    const at = (a, b) => { const voxel = []; [voxel[normal], voxel[u], voxel[v]] = [slice, a, b]; return voxel; };
    this.touch(at(u0, v0), at(u1, v1));
    for (let y = v0; y <= v1; y++) {
      const crossings = points.flatMap((p, n) => {
        const q = points[(n + 1) % points.length];
        return (p[v] <= y) === (q[v] <= y) ? [] : [p[u] + ((y - p[v]) / (q[v] - p[v])) * (q[u] - p[u])];
      }).sort((x, z) => x - z);
      for (let n = 0; n + 1 < crossings.length; n += 2)
        for (let x = Math.max(u0, Math.ceil(crossings[n])); x <= Math.min(u1, Math.floor(crossings[n + 1])); x++) {
          const index = this.index(at(x, y));
          if (!may || may(index)) this.write(index, value);
        }
    }
  }

  region(seed, normal, belongs) { // connected voxels (by faces; within a slice where there is a normal), in order, or null
    const { dims, strides } = this, axes = [0, 1, 2].filter((n) => n !== normal), start = this.index(seed);
    const seen = new Uint8Array(Math.ceil((dims[0] * dims[1] * dims[2]) / 8));
    const low = [...seed], high = [...seed];
    let stack = new Uint32Array(1 << 16), found = new Uint32Array(1 << 16), top = 0, count = 0;
    const push = (at) => {
      if ((seen[at >> 3] >> (at & 7)) & 1) return;
      seen[at >> 3] |= 1 << (at & 7);
      if (!belongs(at)) return;
      if (top === stack.length) { const more = new Uint32Array(2 * top); more.set(stack); stack = more; }
      stack[top++] = at;
    };
    push(start);
    while (top) {
      const at = stack[--top], voxel = this.place(at);
      if (count === found.length) { const more = new Uint32Array(2 * count); more.set(found); found = more; }
      found[count++] = at;
      if (count > MAX_REGION) return null;
      for (const n of axes) {
        if (voxel[n] < low[n]) low[n] = voxel[n];
        if (voxel[n] > high[n]) high[n] = voxel[n];
        if (voxel[n] > 0) push(at - strides[n]);
        if (voxel[n] < dims[n] - 1) push(at + strides[n]);
      }
    }
    const open = axes.some((n) => low[n] === 0 || high[n] === dims[n] - 1);
    return { voxels: found.subarray(0, count).sort(), low, high, open };
  }

  put({ voxels, low, high }, value) {
    this.touch(low, high);
    for (const at of voxels) this.write(at, value);
  }

  smooth(value, sigma, normal, slice) { // by a Gaussian of `sigma` mm; grows into what is empty alone
    const around = this.box(value);
    if (!around) return;
    const { dims, spacing, labels } = this, low = [], high = [];
    for (const n of [0, 1, 2]) {
      const margin = n === normal ? 0 : Math.ceil((2 * sigma) / spacing[n]);
      low[n] = n === normal ? slice : Math.max(0, around.low[n] - margin);
      high[n] = n === normal ? slice : Math.min(dims[n] - 1, around.high[n] + margin);
    }
    const size = [0, 1, 2].map((n) => high[n] - low[n] + 1), steps = [1, size[0], size[0] * size[1]];
    let field = new Float32Array(size[0] * size[1] * size[2]);
    const each = (then) => { let to = 0; for (let k = low[2]; k <= high[2]; k++) for (let j = low[1]; j <= high[1]; j++) { let at = this.index([low[0], j, k]); for (let i = 0; i < size[0]; i++) then(at++, to++); } };
    each((at, to) => { field[to] = +(labels[at] === value); });
    for (const n of [0, 1, 2]) if (n !== normal && size[n] > 1) field = blur(field, size, steps, n, sigma / spacing[n]);
    this.touch(low, high);
    each((at, to) => {
      const within = field[to] >= 0.5;
      if (within && !labels[at]) this.write(at, value);
      else if (!within && labels[at] === value) this.write(at, 0);
    });
  }

  between(value, normal) { // fill slices that lack a value, between those that have it: by signed distances, into what is empty
    const around = this.box(value), axes = [0, 1, 2].filter((n) => n !== normal);
    if (!around) return 0;
    const low = [...around.low], high = [...around.high];
    for (const n of axes) { low[n] = Math.max(0, low[n] - 1); high[n] = Math.min(this.dims[n] - 1, high[n] + 1); }
    const [u, v] = axes, size = [high[u] - low[u] + 1, high[v] - low[v] + 1];
    const start = (slice) => { const voxel = []; [voxel[normal], voxel[u], voxel[v]] = [slice, low[u], low[v]]; return this.index(voxel); };
    const each = (slice, then) => { for (let y = 0, to = 0; y < size[1]; y++) { let at = start(slice) + y * this.strides[v]; for (let x = 0; x < size[0]; x++, to++, at += this.strides[u]) then(at, to); } };
    const mask = (slice) => { const found = new Uint8Array(size[0] * size[1]); let any = false; each(slice, (at, to) => { if (this.labels[at] === value) any = found[to] = 1; }); return any ? found : null; };
    let last = null, lastSlice = 0, filled = 0;
    this.touch(low, high);
    for (let slice = around.low[normal]; slice <= around.high[normal]; slice++) {
      const now = mask(slice);
      if (!now) continue;
      if (last && slice - lastSlice > 1) {
        const edges = [this.spacing[u], this.spacing[v]], [one, two] = [last, now].map((m) => signedDistance(m, size, edges));
        for (let s = lastSlice + 1; s < slice; s++, filled++) {
          const part = (s - lastSlice) / (slice - lastSlice);
          each(s, (at, to) => { if (!this.labels[at] && (1 - part) * one[to] + part * two[to] < -TIE) this.write(at, value); });
        }
      }
      [last, lastSlice] = [now, slice];
    }
    return filled;
  }
}

function blur(field, size, steps, axis, sigma) {
  const reach = Math.ceil(3 * sigma), weights = [];
  for (let n = -reach; n <= reach; n++) weights.push(Math.exp(-(n * n) / (2 * sigma * sigma || 1e-9)));
  const total = weights.reduce((sum, w) => sum + w, 0), out = new Float32Array(field.length);
  for (let at = 0; at < field.length; at++) {
    const here = Math.floor(at / steps[axis]) % size[axis];
    let sum = 0;
    for (let n = -reach; n <= reach; n++) sum += weights[n + reach] * field[at + steps[axis] * (Math.min(size[axis] - 1, Math.max(0, here + n)) - here)];
    out[at] = sum / total;
  }
  return out;
}

function signedDistance(mask, size, edges) { // mm: inside below 0, to the nearest voxel outside; outside above 0
  const outside = squaredDistance(mask, size, edges, 1), inside = squaredDistance(mask, size, edges, 0);
  return Float64Array.from(mask, (m, n) => (m ? -Math.sqrt(inside[n]) : Math.sqrt(outside[n])));
}

function squaredDistance(mask, [width, height], edges, wanted) { // to the nearest pixel that is `wanted`: lower envelopes of parabolas
  const far = 1e20, out = Float64Array.from(mask, (m) => (m === wanted ? 0 : far));
  const line = (start, step, count, edge) => {
    const f = new Float64Array(count), tops = new Int32Array(count), ends = new Float64Array(count + 1);
    for (let n = 0; n < count; n++) f[n] = out[start + n * step];
    let top = -1;
    for (let q = 0; q < count; q++) {
      if (f[q] >= far) continue;
      let cross = -Infinity;
      while (top >= 0) {
        const p = tops[top];
        cross = (f[q] - f[p]) / (2 * edge * edge * (q - p)) + (q + p) / 2;
        if (cross > ends[top]) break;
        top--;
        cross = -Infinity;
      }
      tops[++top] = q;
      ends[top] = cross;
    }
    if (top < 0) return;
    for (let n = 0, at = 0; n < count; n++) {
      while (at < top && ends[at + 1] < n) at++;
      out[start + n * step] = ((n - tops[at]) * edge) ** 2 + f[tops[at]];
    }
  };
  for (let x = 0; x < width; x++) line(x, width, height, edges[1]);
  for (let y = 0; y < height; y++) line(y * width, 1, width, edges[0]);
  return out;
}
