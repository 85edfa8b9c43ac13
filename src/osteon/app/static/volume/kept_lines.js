// Lengths and angles that were saved, drawn in the slices in which they lie. NiiVue draws what its document has.
const PLANES = [2, 1, 0]; // by NiiVue's number of a plane: the axis that it is perpendicular to
const LEVEL = 0.75; // voxels across a slice within which a line lies in it

export function drawKept(nv, lines) { // {kind, ends: in mm, two of a length and four of an angle}
  const doc = nv.document, drawn = ({ kept }) => !kept;
  doc.completedMeasurements = doc.completedMeasurements.filter(drawn);
  doc.completedAngles = doc.completedAngles.filter(drawn);
  nv.calculateAngleBetweenLines = slant; // NiiVue's own takes two lines that share an end
  for (const { kind, ends } of lines) {
    for (const place of slicesOf(nv, ends)) {
      if (kind === "length") doc.completedMeasurements.push({ ...place, startMM: ends[0], endMM: ends[1], distance: Math.hypot(...ends[0].map((v, n) => v - ends[1][n])), kept: true });
      else doc.completedAngles.push({ ...place, firstLineMM: { start: ends[0], end: ends[1] }, secondLineMM: { start: ends[2], end: ends[3] }, kept: true });
    }
  }
  nv.drawScene();
}

export function drawnLines(nv) { // those that are not saved yet
  return nv.document.completedMeasurements.filter(({ kept }) => !kept).map((m) => [m.startMM, m.endMM].map((end) => [...end].slice(0, 3)));
}

function slicesOf(nv, ends) { // as NiiVue says in which slice something is
  const dims = nv.volumes[0].dimsRAS.slice(1, 4), fracs = ends.map((end) => [...nv.mm2frac(end)]);
  const middle = nv.vox2frac(nv.frac2vox([0, 1, 2].map((n) => fracs.reduce((sum, frac) => sum + frac[n], 0) / fracs.length)));
  const places = PLANES.map((axis, sliceType) => ({ axis, sliceType, sliceIndex: -1, slicePosition: middle[axis] }));
  return places.filter(({ axis }) => fracs.every((frac) => Math.abs(frac[axis] - middle[axis]) * dims[axis] < LEVEL)).map(({ axis, ...place }) => place);
}

function slant([a, b, c, d], [e, f, g, h]) { // degrees between two lines, 90 at most
  const along = [c - a, d - b], other = [g - e, h - f], lengths = Math.hypot(...along) * Math.hypot(...other);
  return lengths ? (Math.acos(Math.min(1, Math.abs(along[0] * other[0] + along[1] * other[1]) / lengths)) * 180) / Math.PI : 0;
}
