// Two scans of one subject side by side: a place in one is shown in the other, on a slice as it was taken.

export function linkScans(nv, by) { // by `place`, their millimetres, or by `part` of each axis
  nv.doSync2d = (other) => {
    if (!other.volumes.length) return;
    const mm = [...nv.frac2mm(nv.scene.crosshairPos)], frac = by === "place" ? [...other.mm2frac(mm)] : [...nv.scene.crosshairPos];
    const dims = other.volumes[0].dimsRAS, within = [0, 1, 2].map((n) => Math.min(1 - 0.5 / dims[n + 1], Math.max(0.5 / dims[n + 1], frac[n])));
    other.scene.crosshairPos = other.vox2frac(other.frac2vox(within));
    const [here, there] = [nv, other].map((one) => [...one.frac2mm([0.5, 0.5, 0.5])]), to = [...other.frac2mm(other.scene.crosshairPos)];
    const pan = [...nv.scene.pan2Dxyzmm], zoom = pan[3];
    // on the screen a place lies at zoom · mm + pan from the scan's middle: both crosshairs at the same
    other.setPan2Dxyzmm([...[0, 1, 2].map((n) => there[n] - here[n] + zoom * (mm[n] - to[n]) + pan[n]), zoom]);
  };
}
