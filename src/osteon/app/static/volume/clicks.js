// What the click tool needs of a label volume (label_edits.js).

export function drawnAround({ labels, dims, spacing, strides }, own, points, margin) { // margin: mm
  const low = dims.map((_, n) => Math.max(0, Math.min(...points.map((at) => at[n])) - Math.ceil(margin / spacing[n])));
  const stop = dims.map((count, n) => Math.min(count, Math.max(...points.map((at) => at[n])) + Math.ceil(margin / spacing[n]) + 1));
  const bytes = new Uint8Array((stop[0] - low[0]) * (stop[1] - low[1]) * (stop[2] - low[2]));
  let at = 0;
  for (let k = low[2]; k < stop[2]; k++) for (let j = low[1]; j < stop[1]; j++) {
    const row = j * strides[1] + k * strides[2];
    for (let i = low[0]; i < stop[0]; i++, at++) { const value = labels[row + i]; if (value) bytes[at] = value === own ? 1 : 2; }
  }
  return { box: [low, stop], bytes };
}

export function putAnswer(edits, own, [low, stop], bytes) { // others keep what they have
  const { labels, strides } = edits;
  edits.touch(low, stop.map((n) => n - 1));
  let at = 0;
  for (let k = low[2]; k < stop[2]; k++) for (let j = low[1]; j < stop[1]; j++) {
    const row = j * strides[1] + k * strides[2];
    for (let i = low[0]; i < stop[0]; i++, at++) {
      const value = labels[row + i];
      if (bytes[at] ? value === 0 : value === own) edits.write(row + i, bytes[at] ? own : 0);
    }
  }
}
