"use strict";
// The viewer: two NiiVue canvases with one crosshair, one zoom and one window.
// All volumes are shown in the display space of the result (its own axes, mm), where their
// headers are placed before NiiVue sees them; positions told to the reader are the scanner's.
(function () {
  const content = JSON.parse(document.getElementById("content").textContent);
  const $ = (id) => document.getElementById(id);
  const SIDES = ["before", "after"];
  const PLANES = [[0, 1, 2], [0, 2, 1], [1, 2, 0]]; // axial, coronal, sagittal: across, up, through
  const DIRECTIONS = ["left to right", "back to front", "foot to head"];
  const SIDE_LETTERS = ["LRAP", "LRSI", "PASI"]; // left, right, top, bottom of each plane
  // Clear where a result is certain, red and then yellow where it is not.
  const UNCERTAINTY = { R: [90, 190, 255, 255, 255], G: [0, 0, 60, 170, 255], B: [0, 0, 0, 0, 130],
    A: [255, 255, 255, 255, 255], I: [0, 64, 128, 192, 255] };
  const CERTAIN = 0.35; // share of the brightest colour's value
  const CHOICES = { accept: 1, "look again": 1, reject: 1 };
  const view = { image: 0, mm: [0, 0, 0], pan: [0, 0, 0], zoom: 1, window: [0, 1], overlay: -1, lastOverlay: 0,
    opacity: 0.5, mode: "blink", shown: "after", plane: 0, swipe: 0.5, smooth: false, cross: true,
    radiological: false, choice: { before: 0, after: 0 } };
  const canvases = {};
  const decoded = {}; // of the image that is shown: volume -> Promise of its bytes
  let timer = null;
  let turn = 0; // counts loads: a slow one that was overtaken changes nothing

  // --- small tools ---------------------------------------------------------------------------
  const image = () => content.images[view.image];
  const facts = (part) => content.volumes[part.volume];
  function product(a, b) {
    return a.map((row) => [0, 1, 2, 3].map((c) => row.reduce((sum, v, k) => sum + v * b[k][c], 0)));
  }
  function inverse(m) { // of an affine
    const [[a, b, c], [d, e, f], [g, h, i]] = m;
    const det = a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g);
    const r = [[e * i - f * h, c * h - b * i, b * f - c * e], [f * g - d * i, a * i - c * g, c * d - a * f],
      [d * h - e * g, b * g - a * h, a * e - b * d]].map((row) => row.map((v) => v / det));
    return [...r.map((row) => [...row, -(row[0] * m[0][3] + row[1] * m[1][3] + row[2] * m[2][3])]), [0, 0, 0, 1]];
  }
  const at = (m, p) => [0, 1, 2].map((r) => m[r][0] * p[0] + m[r][1] * p[1] + m[r][2] * p[2] + m[r][3]);
  const shownAffine = (part) => product(image().toDisplay, facts(part).affine);
  const clamp = (value, low, high) => Math.min(high, Math.max(low, value));
  function words(value) {
    if (!isFinite(value)) { return "–"; }
    const size = Math.abs(value);
    const digits = size >= 100 ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : 4;
    return value.toLocaleString("en-US", { maximumFractionDigits: digits }).replace("-", "−");
  }
  function press(group, name, value) {
    group.querySelectorAll("button").forEach((b) => b.setAttribute("aria-pressed", String(b.dataset[name] === value)));
  }
  function fail(error) {
    $("problem").hidden = false;
    $("problem").textContent = "The viewer cannot be shown: " + (error && error.message || error) +
      ". It needs a browser with WebGL 2 of 2023 or later. The report shows the images without it.";
    $("loading").hidden = true;
  }
  async function unpack(text) {
    const raw = atob(text);
    const bytes = new Uint8Array(raw.length);
    for (let i = 0; i < raw.length; i++) { bytes[i] = raw.charCodeAt(i); }
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  }
  function bytesOf(part) {
    decoded[part.volume] = decoded[part.volume] || unpack($(part.volume).textContent);
    return decoded[part.volume];
  }

  // --- values --------------------------------------------------------------------------------
  // Value of the voxel at a place of the display space; along `axis` interpolated (linear).
  function sample(part, voxels, place, axis) {
    const { shape, slope, inter } = facts(part);
    const exact = at(part.toVoxel, place);
    const voxel = exact.map(Math.round);
    if (voxel.some((v, a) => v < 0 || v >= shape[a])) { return null; }
    const read = (v) => voxels[352 + v[0] + shape[0] * (v[1] + shape[1] * v[2])];
    if (axis === undefined) { return { byte: read(voxel), value: read(voxel) * slope + inter }; }
    const low = voxel.slice(), high = voxel.slice();
    low[axis] = clamp(Math.floor(exact[axis]), 0, shape[axis] - 1);
    high[axis] = Math.min(low[axis] + 1, shape[axis] - 1);
    const share = clamp(exact[axis] - low[axis], 0, 1);
    return { value: ((1 - share) * read(low) + share * read(high)) * slope + inter };
  }
  function valueWords(part, found) {
    if (!found) { return "outside"; }
    if (part.labels) { return found.byte ? part.labels[found.byte - 1].name : "–"; }
    return (found.byte === 255 && facts(part).clipped ? "at least " : "") + words(found.value);
  }

  // --- canvases ------------------------------------------------------------------------------
  async function makeCanvas(side) {
    const nv = new niivue.Niivue({ interactive: false, isSliceMM: true, sliceType: 3, multiplanarLayout: 3,
      multiplanarShowRender: 0, show3Dcrosshair: false, backColor: [0, 0, 0, 1], crosshairColor: [1, 0.84, 0.3, 0.8],
      crosshairWidthUnit: "mm", crosshairGap: 6, dragAndDropEnabled: false, loadingText: "", isColorbar: false, tileMargin: 2,
      multiplanarPadPixels: 6, isOrientationTextVisible: false, logLevel: "error" });
    // One box for all volumes of an image, so that both canvases show the same places.
    nv.screenFieldOfViewExtendedMM = function (plane) {
      const half = PLANES[plane || 0].map((a) => image().half[a]);
      return { mnMM: half.map((v) => -v), mxMM: half.slice(), rotation: new Float32Array([1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1]),
        fovMM: half.map((v) => 2 * v) };
    };
    nv.screenFieldOfViewMM = (plane) => PLANES[plane || 0].map((a) => 2 * image().half[a]);
    await nv.attachToCanvas($("pane-" + side).querySelector("canvas"), true);
    nv.addColormap("uncertainty", UNCERTAINTY);
    canvases[side] = nv;
  }
  async function toNiivue(part) {
    const bytes = (await bytesOf(part)).slice();
    const header = new DataView(bytes.buffer);
    header.setInt16(252, 0, true); // no qform
    header.setInt16(254, 1, true);
    shownAffine(part).slice(0, 3).flat().forEach((v, n) => header.setFloat32(280 + 4 * n, v, true));
    const isOverlay = part.kind !== "image";
    let [low, high] = facts(part).window || [0, 1];
    if (part.kind === "uncertainty") { low = CERTAIN * high; }
    const volume = await niivue.NVImage.new(bytes.buffer, part.volume + ".nii", part.kind === "uncertainty" ? "uncertainty" : "gray",
      isOverlay ? view.opacity : 1, null, low, high, false);
    if (part.kind === "uncertainty") { volume.colormapType = 2; } // fades out below `low`
    if (part.labels) {
      const colours = part.labels.map((label) => [1, 3, 5].map((n) => parseInt(label.colour.slice(n, n + 2), 16)));
      const column = (n) => [0, ...colours.map((c) => c[n])];
      volume.setColormapLabel({ R: column(0), G: column(1), B: column(2), A: [0, ...colours.map(() => 255)],
        I: [0, ...colours.keys()].map((v, n) => n), labels: ["", ...part.labels.map((label) => label.name)] });
    }
    return volume;
  }
  async function load() {
    const own = ++turn;
    $("loading").hidden = false;
    const overlay = image().overlays[view.overlay];
    const parts = {};
    for (const side of SIDES) { parts[side] = [image().images[view.choice[side]], ...(overlay ? [overlay] : [])]; }
    const made = {};
    for (const side of SIDES) { made[side] = await Promise.all(parts[side].map(toNiivue)); }
    const voxels = {};
    for (const part of [...parts.before, ...parts.after]) {
      part.toVoxel = inverse(shownAffine(part));
      voxels[part.volume] = await bytesOf(part);
    }
    if (own !== turn) { return; }
    view.voxels = voxels;
    for (const side of SIDES) {
      const nv = canvases[side];
      nv.volumes = made[side];
      nv.back = made[side][0];
      nv.overlays = made[side].slice(1);
      nv.opts.isNearestInterpolation = !view.smooth;
      window_(nv);
      nv.updateGLVolume();
      $("pane-" + side).querySelector(".name").textContent = parts[side][0].title;
    }
    $("loading").hidden = true;
    drawAll();
  }
  function window_(nv) {
    [nv.volumes[0].cal_min, nv.volumes[0].cal_max] = view.window;
  }
  function drawAll() {
    for (const side of SIDES) {
      const nv = canvases[side];
      if (!nv || !nv.volumes.length) { continue; }
      nv.scene.crosshairPos = nv.mm2frac(view.mm, 0, true);
      nv.scene.pan2Dxyzmm = [...view.pan, view.zoom];
      nv.opts.crosshairWidth = view.cross ? 0.6 : 0;
      nv.opts.isRadiologicalConvention = view.radiological;
      if (view.mode !== "blink" || view.shown === side) { nv.drawScene(); }
    }
    onGlass();
    tell();
  }
  // Letters of the sides and, in swipe mode, the borders: right of them is the image after.
  function onGlass() {
    const glass = $("glass"), pane = $("pane-after");
    const scale = active().gl.canvas.width / pane.clientWidth;
    let path = "";
    glass.textContent = "";
    const mark = (name, text, left, top, more) => {
      const node = document.createElement(name);
      node.textContent = text;
      node.style.cssText = `left:${left}px;top:${top}px;${more || ""}`;
      glass.appendChild(node);
    };
    for (const tile of tiles()) {
      const [left, top, width, height] = tile.leftTopWidthHeight.map((v) => v / scale);
      const start = left + view.swipe * width, sides = SIDE_LETTERS[tile.axCorSag];
      const [one, other] = view.radiological && tile.axCorSag < 2 ? [sides[1], sides[0]] : sides;
      mark("b", one, left + 4, top + height / 2 - 9);
      mark("b", other, left + width - 16, top + height / 2 - 9);
      mark("b", sides[2], left + width / 2 - 6, top + 2);
      mark("b", sides[3], left + width / 2 - 6, top + height - 20);
      if (view.mode === "swipe") {
        path += `M${start} ${top}h${width * (1 - view.swipe)}v${height}h${-width * (1 - view.swipe)}z`;
        mark("i", "", start, top, `height:${height}px`);
      }
    }
    pane.style.clipPath = view.mode === "swipe" ? `path("${path}")` : "";
  }
  const active = () => canvases[view.mode === "blink" ? view.shown : "after"];
  const tiles = () => active().screenSlices.filter((tile) => tile.axCorSag <= 2);
  function resize() {
    const half = image().half, width = $("stage").clientWidth;
    const row = width * Math.max(half[1], half[2]) / (2 * half[0] + half[1]);
    const height = clamp(row, 160, view.mode === "both" ? 0.36 * innerHeight : 0.68 * innerHeight);
    $("stage").style.height = Math.round(view.mode === "both" ? 2 * height : height) + "px";
    for (const side of SIDES) { if (canvases[side]) { canvases[side].resizeListener(); } }
    drawAll();
  }

  // --- what is told --------------------------------------------------------------------------
  function tell() {
    const scanner = at(inverse(image().toDisplay), view.mm);
    $("place").textContent = scanner.map((v) => v.toFixed(1).replace("-", "−")).join(", ") + " mm";
    for (const side of SIDES) {
      const part = image().images[view.choice[side]];
      $(side + "-name").textContent = part.title;
      const found = view.voxels && view.voxels[part.volume] && sample(part, view.voxels[part.volume], view.mm);
      $(side + "-value").textContent = found === undefined ? "" : valueWords(part, found);
    }
    const overlay = image().overlays[view.overlay];
    $("overlay-name").textContent = overlay ? overlay.title : "Overlay";
    $("overlay-value").textContent = overlay && view.voxels && view.voxels[overlay.volume]
      ? valueWords(overlay, sample(overlay, view.voxels[overlay.volume], view.mm)) : "–";
    [$("black").value, $("white").value] = view.window.map((v) => Number(v.toPrecision(4)));
    profile();
  }
  function svg(name, attributes, text) {
    const node = document.createElementNS("http://www.w3.org/2000/svg", name);
    Object.entries(attributes).forEach(([key, value]) => node.setAttribute(key, value));
    if (text !== undefined) { node.textContent = text; }
    $("profile").appendChild(node);
  }
  function profile() {
    $("profile").textContent = "";
    const ready = (side) => view.voxels && view.voxels[image().images[view.choice[side]].volume];
    if (!SIDES.every(ready)) { return; } // an image is being loaded
    const { axis } = slices(), half = image().half[axis];
    const lines = {};
    for (const side of SIDES) {
      const part = image().images[view.choice[side]], voxels = view.voxels[part.volume];
      const column = [0, 1, 2].map((a) => Math.abs(part.toVoxel[a][axis]));
      const along = side === "after" ? column.indexOf(Math.max(...column)) : undefined;
      lines[side] = [];
      for (let n = 0; n <= 560; n++) {
        const place = view.mm.slice();
        place[axis] = -half + 2 * half * n / 560;
        const found = sample(part, voxels, place, along);
        if (found) { lines[side].push([place[axis], found.value]); }
      }
    }
    const values = [...lines.before, ...lines.after].map((point) => point[1]);
    const low = Math.min(...values), high = Math.max(...values, low + 1e-9);
    const x = (mm) => 66 + 480 * (mm + half) / (2 * half), y = (v) => 150 - 138 * (v - low) / (high - low);
    svg("path", { class: "axis", d: "M66 10V150H548" });
    svg("path", { class: "here", d: `M${x(view.mm[axis])} 10V150` });
    for (const side of SIDES) {
      const points = lines[side].map((point) => `${x(point[0]).toFixed(1)},${y(point[1]).toFixed(1)}`).join(" ");
      svg("polyline", { class: side === "before" ? "steps" : "line", points });
    }
    svg("text", { x: 62, y: 16, "text-anchor": "end" }, words(high));
    svg("text", { x: 62, y: 152, "text-anchor": "end" }, words(low));
    svg("text", { x: 306, y: 170, "text-anchor": "middle" }, `${words(2 * half)} mm, ${DIRECTIONS[axis]}`);
  }

  // --- moving about --------------------------------------------------------------------------
  const step = (plane) => { // of the result along a plane's normal, mm
    const part = image().images[image().images.length - 1], through = PLANES[plane][2];
    return Math.hypot(...shownAffine(part).slice(0, 3).map((row) => row[through]));
  };
  function move(axis, distance) {
    view.mm[axis] = clamp(view.mm[axis] + distance, -image().half[axis] + 0.01, image().half[axis] - 0.01);
    drawAll();
  }
  // Axis of the display space across the slices of the image before, and their distance, mm.
  function slices() {
    const affine = shownAffine(image().images[view.choice.before]);
    const lengths = [0, 1, 2].map((c) => Math.hypot(affine[0][c], affine[1][c], affine[2][c]));
    const column = lengths.indexOf(Math.max(...lengths));
    const parts = [0, 1, 2].map((a) => Math.abs(affine[a][column]));
    const thick = lengths[column] > 1.2 * Math.min(...lengths); // else as the image was acquired
    const axis = thick ? parts.indexOf(Math.max(...parts)) : image().sliceAxis;
    const along = [0, 1, 2].map((c) => Math.abs(affine[axis][c]));
    return { axis, distance: Math.max(...along) };
  }
  function acquiredStep(sign) {
    const { axis, distance } = slices();
    move(axis, sign * distance);
  }
  // The plane, place and share across the tile under the pointer; null beside the planes.
  function under(event) {
    const pane = $("pane-" + (view.mode === "blink" ? view.shown : "after"));
    const box = pane.getBoundingClientRect(), scale = active().gl.canvas.width / pane.clientWidth;
    let y = event.clientY - box.top;
    if (view.mode === "both" && y < 0) { y += box.height; }
    const x = (event.clientX - box.left) * scale;
    y *= scale;
    for (const tile of tiles()) {
      const [left, top, width, height] = tile.leftTopWidthHeight;
      const fx = (x - left) / width, fy = 1 - (y - top) / height;
      if (fx < 0 || fx > 1 || fy < 0 || fy > 1) { continue; }
      const [across, up] = PLANES[tile.axCorSag], mm = view.mm.slice();
      const flip = view.radiological && tile.axCorSag < 2 ? 1 - fx : fx;
      const whole = [[across, flip], [up, fy]];
      for (const [axis, share] of whole) {
        mm[axis] = ((2 * share - 1) * image().half[axis] - view.pan[axis]) / view.zoom;
      }
      return { plane: tile.axCorSag, mm, share: fx, perPixel: 2 * image().half[across] / width * scale / view.zoom };
    }
    return null;
  }
  function inside(mm) {
    return mm.map((v, a) => clamp(v, -image().half[a] + 0.01, image().half[a] - 0.01));
  }
  function zoom(factor, mm) {
    const before = view.zoom;
    view.zoom = clamp(before * factor, 1, 20);
    view.pan = view.zoom === 1 ? [0, 0, 0] : view.pan.map((pan, a) => pan + mm[a] * (before - view.zoom));
    drawAll();
  }
  function setWindow(low, high) {
    if (!(high > low)) { return; }
    view.window = [low, high];
    for (const side of SIDES) { window_(canvases[side]); canvases[side].updateGLVolume(); }
    drawAll();
  }
  function resetView() {
    view.mm = [0, 0, 0]; view.pan = [0, 0, 0]; view.zoom = 1;
    const after = image().images[view.choice.after];
    setWindow(...facts(after).window);
  }
  let drag = null;
  function down(event) {
    $("stage").focus({ preventScroll: true });
    const place = under(event);
    if (!place) { return; }
    event.preventDefault();
    const kind = event.button === 2 ? "window" : event.button === 1 || event.shiftKey ? "pan" : "cross";
    drag = { kind, x: event.clientX, y: event.clientY, plane: place.plane, pan: view.pan.slice(), window: view.window.slice(), perPixel: place.perPixel };
    view.plane = place.plane;
    $("glass").setPointerCapture(event.pointerId);
    if (kind === "cross") { view.mm = inside(place.mm); drawAll(); }
  }
  function drift(event) {
    const place = under(event);
    if (place && !drag) {
      view.plane = place.plane;
      if (view.mode === "swipe") { view.swipe = place.share; onGlass(); }
    }
    if (!drag) { return; }
    const dx = event.clientX - drag.x, dy = event.clientY - drag.y;
    if (drag.kind === "cross") {
      if (place && place.plane === drag.plane) { view.mm = inside(place.mm); drawAll(); }
    } else if (drag.kind === "pan") {
      const [across, up] = PLANES[drag.plane], side = view.radiological && drag.plane < 2 ? -1 : 1;
      view.pan = drag.pan.slice();
      view.pan[across] += side * dx * drag.perPixel * view.zoom;
      view.pan[up] -= dy * drag.perPixel * view.zoom;
      drawAll();
    } else {
      const width = drag.window[1] - drag.window[0], level = (drag.window[0] + drag.window[1]) / 2 + dy / 300 * width;
      const wide = width * Math.exp(dx / 200);
      setWindow(level - wide / 2, level + wide / 2);
    }
  }
  function wheel(event) {
    const place = under(event);
    if (!place) { return; }
    event.preventDefault();
    view.plane = place.plane;
    const through = PLANES[place.plane][2];
    if (event.ctrlKey || event.metaKey) {
      place.mm[through] = view.mm[through];
      zoom(event.deltaY < 0 ? 1.15 : 1 / 1.15, place.mm);
    } else if (event.deltaY) {
      move(through, (event.deltaY < 0 ? 1 : -1) * step(place.plane));
    }
  }
  const KEYS = {
    " ": () => show(view.shown === "before" ? "after" : "before"),
    ArrowUp: () => move(PLANES[view.plane][2], step(view.plane)),
    ArrowDown: () => move(PLANES[view.plane][2], -step(view.plane)),
    PageUp: () => acquiredStep(1),
    PageDown: () => acquiredStep(-1),
    "+": () => zoom(1.25, view.mm), "=": () => zoom(1.25, view.mm), "-": () => zoom(0.8, view.mm),
    0: resetView,
    1: () => mode("blink"), 2: () => mode("swipe"), 3: () => mode("both"),
    o: () => overlay(view.overlay < 0 ? view.lastOverlay : -1),
    i: () => $("smooth").click(), r: () => $("sides").click(), x: () => $("cross").click(),
    "[": () => choose(view.image - 1), "]": () => choose(view.image + 1),
  };
  function key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) { return; }
    if (/^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName)) { return; }
    if (/^( |Enter)$/.test(event.key) && /^(BUTTON|SUMMARY|A)$/.test(event.target.tagName)) { return; }
    const action = KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (action) { event.preventDefault(); action(); }
  }

  // --- choices -------------------------------------------------------------------------------
  function fill(select, titles, chosen) {
    select.textContent = "";
    titles.forEach((title, n) => select.appendChild(new Option(title, n, false, n === chosen)));
  }
  function stop() { clearInterval(timer); timer = null; }
  function show(side, running) {
    if (!running) { stop(); }
    view.shown = side;
    if (view.mode !== "blink") { view.mode = "blink"; resize(); }
    marks();
    drawAll();
  }
  function mode(name) {
    stop();
    view.mode = name;
    marks();
    resize();
  }
  function marks() {
    $("stage").className = view.mode + " " + view.shown;
    press($("modes"), "mode", view.mode);
    press($("shown"), "shown", timer ? "auto" : view.mode === "blink" ? view.shown : "");
  }
  function overlay(number) {
    if (number >= image().overlays.length) { return; }
    if (number >= 0) { view.lastOverlay = number; }
    view.overlay = number;
    $("overlay").value = number;
    legend();
    return load().catch(fail);
  }
  function legend() {
    const box = $("legend"), part = image().overlays[view.overlay];
    box.textContent = "";
    if (!part) { return; }
    if (part.labels) {
      for (const label of part.labels) {
        const entry = document.createElement("span"), colour = document.createElement("b");
        colour.style.background = label.colour;
        entry.append(colour, label.name);
        box.appendChild(entry);
      }
    } else {
      const scale = document.createElement("span"), [low, high] = facts(part).window;
      scale.className = "scale";
      box.append(words(low), scale, words(high) + " and more");
    }
  }
  function choose(number) {
    if (number < 0 || number >= content.images.length) { return; }
    stop();
    Object.keys(decoded).forEach((name) => delete decoded[name]);
    view.image = number;
    view.voxels = undefined;
    $("image").value = number;
    const titles = image().images.map((part) => part.title);
    view.choice = { before: 0, after: titles.length - 1 };
    SIDES.forEach((side) => fill($(side + "-choice"), titles, view.choice[side]));
    $("overlay").textContent = "";
    $("overlay").appendChild(new Option("none", -1));
    image().overlays.forEach((part, n) => $("overlay").appendChild(new Option(part.title, n)));
    view.overlay = -1;
    view.lastOverlay = 0;
    view.mm = [0, 0, 0]; view.pan = [0, 0, 0]; view.zoom = 1;
    view.window = facts(image().images[view.choice.after]).window.slice();
    badges();
    legend();
    showRating();
    resize();
    return load().catch(fail);
  }
  function badges() {
    const box = $("badges");
    box.textContent = "";
    const { outcome, outcomeWords, verdict, sloppy } = image();
    const known = [[outcome, outcomeWords], ["failed", sloppy && "not a result (--sloppy)"], ["verdict-" + verdict, verdict && "verdict: " + verdict]];
    for (const [name, text] of known) {
      if (!text) { continue; }
      const badge = document.createElement("span");
      badge.className = "badge " + name;
      badge.textContent = text;
      box.append(badge, " ");
    }
    $("section").href = encodeURIComponent(content.subject) + ".html#" + encodeURIComponent(image().anchor);
    $("notes").querySelectorAll(".own").forEach((note) => note.remove());
    for (const text of image().notes) {
      const note = document.createElement("li");
      note.className = "own";
      note.textContent = text;
      $("notes").appendChild(note);
    }
  }

  // --- rating --------------------------------------------------------------------------------
  let memory = {};
  let keeps = false;
  const place = (picture) => `bids_sr:${content.subject}:${picture.image}:${picture.sha256}`;
  function remember() {
    try { // a page from disk may not be allowed to keep anything
      localStorage.setItem("bids_sr:test", "1");
      localStorage.removeItem("bids_sr:test");
      keeps = true;
    } catch (error) { keeps = false; }
    for (const picture of content.images) {
      let known = null;
      try { known = JSON.parse(localStorage.getItem(place(picture))); } catch (error) { known = null; }
      if (known && CHOICES[known.rating]) { memory[place(picture)] = known; }
    }
    let rater = "";
    try { rater = localStorage.getItem("bids_sr:rater") || ""; } catch (error) { rater = ""; }
    $("rater").value = rater;
  }
  function showRating() {
    const known = memory[place(image())] || {};
    document.querySelectorAll("[name=rating]").forEach((radio) => { radio.checked = radio.value === known.rating; });
    $("note").value = known.note || "";
    count();
  }
  function count() {
    const rated = content.images.filter((picture) => memory[place(picture)]).length;
    $("kept").textContent = `${rated} of ${content.images.length} rated; ` +
      (keeps ? "kept in this browser" : "not kept by this browser: export before you close the page");
  }
  function rate() {
    const radio = document.querySelector("[name=rating]:checked");
    const name = place(image());
    if (radio) {
      memory[name] = { rating: radio.value, note: $("note").value, rater: $("rater").value.trim(), date: new Date().toISOString().slice(0, 19) + "Z" };
    } else { delete memory[name]; }
    try {
      if (memory[name]) { localStorage.setItem(name, JSON.stringify(memory[name])); } else { localStorage.removeItem(name); }
      localStorage.setItem("bids_sr:rater", $("rater").value.trim());
    } catch (error) { keeps = false; }
    count();
  }
  function table() {
    const columns = ["participant_id", "session_id", "image", "rating", "note", "rater", "date", "output", "sha256"];
    const lines = [columns];
    for (const picture of content.images) {
      const known = memory[place(picture)];
      if (!known) { continue; }
      lines.push([content.subject, picture.session, picture.image, known.rating, known.note, known.rater || $("rater").value, known.date, picture.output, picture.sha256]);
    }
    const cell = (text) => String(text || "").replace(/\s+/g, " ").trim() || "n/a";
    return lines.map((cells) => cells.map(cell).join("\t") + "\n").join("");
  }
  function exportRatings() {
    const link = document.createElement("a");
    const rater = $("rater").value.replace(/[^A-Za-z0-9]/g, "");
    link.download = content.subject + (rater ? "_rater-" + rater : "") + "_ratings.tsv";
    link.href = URL.createObjectURL(new Blob([table()], { type: "text/tab-separated-values" }));
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  }

  // --- start ---------------------------------------------------------------------------------
  function toggle(id, name, after) {
    $(id).addEventListener("click", () => {
      view[name] = !view[name];
      $(id).setAttribute("aria-pressed", String(view[name]));
      after();
    });
  }
  function listen() {
    const glass = $("glass");
    glass.addEventListener("pointerdown", down);
    glass.addEventListener("pointermove", drift);
    ["pointerup", "pointercancel"].forEach((name) => glass.addEventListener(name, () => { drag = null; }));
    glass.addEventListener("wheel", wheel, { passive: false });
    glass.addEventListener("contextmenu", (event) => event.preventDefault());
    document.addEventListener("keydown", key);
    window.addEventListener("resize", resize);
    $("image").addEventListener("change", () => choose(Number($("image").value)));
    SIDES.forEach((side) => $(side + "-choice").addEventListener("change", () => {
      view.choice[side] = Number($(side + "-choice").value);
      load().catch(fail);
    }));
    $("modes").addEventListener("click", (event) => event.target.dataset.mode && mode(event.target.dataset.mode));
    $("shown").addEventListener("click", (event) => {
      const wanted = event.target.dataset.shown;
      if (wanted !== "auto") { return wanted && show(wanted); }
      const running = timer !== null;
      show(view.shown);
      if (!running) { timer = setInterval(() => show(view.shown === "before" ? "after" : "before", true), 800); }
      marks();
    });
    $("overlay").addEventListener("change", () => overlay(Number($("overlay").value)));
    $("opacity").addEventListener("input", () => {
      view.opacity = Number($("opacity").value);
      for (const side of SIDES) {
        const nv = canvases[side];
        if (nv.volumes.length > 1) { nv.volumes[1].opacity = view.opacity; nv.updateGLVolume(); }
      }
      drawAll();
    });
    toggle("smooth", "smooth", () => {
      for (const side of SIDES) { canvases[side].setInterpolation(!view.smooth); }
      drawAll();
    });
    toggle("sides", "radiological", drawAll);
    toggle("cross", "cross", drawAll);
    $("reset").addEventListener("click", resetView);
    ["black", "white"].forEach((id) => $(id).addEventListener("change", () => setWindow(Number($("black").value), Number($("white").value))));
    $("profile").addEventListener("click", (event) => {
      const box = $("profile").getBoundingClientRect(), { axis } = slices();
      const x = (event.clientX - box.left) / box.width * 560;
      view.mm[axis] = (clamp((x - 66) / 480, 0, 1) * 2 - 1) * image().half[axis];
      view.mm = inside(view.mm);
      drawAll();
    });
    $("rating").addEventListener("input", rate);
    $("rating").addEventListener("submit", (event) => event.preventDefault());
    $("clear").addEventListener("click", () => {
      document.querySelectorAll("[name=rating]").forEach((radio) => { radio.checked = false; });
      rate();
    });
    $("export").addEventListener("click", exportRatings);
  }
  async function start() {
    const script = document.createElement("script");
    script.textContent = new TextDecoder().decode(await unpack($("niivue").textContent));
    document.head.appendChild(script);
    fill($("image"), content.images.map((picture) => picture.title), 0);
    remember();
    for (const side of SIDES) { await makeCanvas(side); }
    listen();
    marks();
    const wanted = decodeURIComponent(location.hash.slice(1));
    await choose(Math.max(0, content.images.findIndex((picture) => picture.anchor === wanted)));
  }
  // For tests, and for those who write their own.
  window.viewer = {
    view, content, canvases, table,
    ready: start().catch(fail),
    image: choose, overlay, mode, show, window: setWindow,
    choose(side, number) { $(side + "-choice").value = view.choice[side] = number; return load(); },
    go(scanner) { view.mm = inside(at(image().toDisplay, scanner)); drawAll(); },
    redraw: drawAll,
  };
})();
