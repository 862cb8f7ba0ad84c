"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const { rows, columns } = data;
const [left, bottom, right, top_] = data.bounds;
const canvas = document.getElementById("map");
const readout = document.getElementById("readout");
const opacity = document.getElementById("opacity");
const NONE = 255;
const UNLIKE = [213, 94, 0];
// In pixels of the canvas: where the upper left corner of the map is, and how large a cell is.
const view = { x: 0, y: 0, size: 1 };
let planes, layers, isWhole = true;

const inflate = async (text) => {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
};
const colourOf = {
  classes: (cell) => planes.label[cell] === NONE ? null : data.classes[planes.label[cell]].colour,
  entropy: (cell) => planes.entropy[cell] === NONE ? null : data.ramp[planes.entropy[cell]],
  unlike: (cell) => planes.unlike[cell] ? UNLIKE : null,
  scene: (cell) => {
    const colour = planes.scene.subarray(3 * cell, 3 * cell + 3);
    return colour[0] || colour[1] || colour[2] ? colour : null;
  },
};
const draw_layer = (name) => {
  const picture = document.createElement("canvas");
  picture.width = columns;
  picture.height = rows;
  const context = picture.getContext("2d");
  const image = context.createImageData(columns, rows);
  for (let cell = 0; cell < rows * columns; cell += 1) {
    const colour = colourOf[name](cell);
    if (colour) image.data.set([colour[0], colour[1], colour[2], 255], 4 * cell);
  }
  context.putImageData(image, 0, 0);
  return picture;
};
const layer = () => document.querySelector("input[name=layer]:checked").value;

const draw = () => {
  const context = canvas.getContext("2d");
  context.clearRect(0, 0, canvas.width, canvas.height);
  context.imageSmoothingEnabled = false;
  const place = [view.x, view.y, columns * view.size, rows * view.size];
  context.drawImage(layers.scene, ...place);
  context.globalAlpha = opacity.value / 100;
  context.drawImage(layers[layer()], ...place);
  context.globalAlpha = 1;
  if (document.activeElement === canvas) {
    const [x, y] = [canvas.width / 2, canvas.height / 2];
    for (const [colour, width] of [["#fff", 5], ["#000", 2]]) {
      context.strokeStyle = colour;
      context.lineWidth = width;
      context.beginPath();
      context.moveTo(x - 12, y); context.lineTo(x + 12, y);
      context.moveTo(x, y - 12); context.lineTo(x, y + 12);
      context.stroke();
    }
  }
  draw_scale();
};
const draw_scale = () => {
  const metres = data.cellMetres / view.size * devicePixelRatio;
  const wanted = 120 * metres;
  const power = 10 ** Math.floor(Math.log10(wanted));
  const length = [5, 2, 1].map((digit) => digit * power).find((each) => each <= wanted);
  const bar = document.getElementById("scale");
  bar.style.width = `${length / metres}px`;
  bar.textContent = length >= 1000 ? `${length / 1000} km` : `${length} m`;
};
const show_whole = () => {
  view.size = Math.min(canvas.width / columns, canvas.height / rows);
  view.x = (canvas.width - columns * view.size) / 2;
  view.y = (canvas.height - rows * view.size) / 2;
  isWhole = true;
  draw();
};
const move = (x, y) => {
  // A part of the map stays in sight.
  view.x = Math.min(canvas.width * 0.8, Math.max(canvas.width * 0.2 - columns * view.size, view.x + x));
  view.y = Math.min(canvas.height * 0.8, Math.max(canvas.height * 0.2 - rows * view.size, view.y + y));
  isWhole = false;
  draw();
};
const zoom = (factor, x = canvas.width / 2, y = canvas.height / 2) => {
  const smallest = Math.min(canvas.width / columns, canvas.height / rows) / 2;
  const size = Math.min(Math.max(80 * devicePixelRatio, smallest), Math.max(smallest, view.size * factor));
  view.x = x - (x - view.x) * size / view.size;
  view.y = y - (y - view.y) * size / view.size;
  view.size = size;
  move(0, 0);
};
const resize = () => {
  const middle = [(canvas.width / 2 - view.x) / view.size, (canvas.height / 2 - view.y) / view.size];
  canvas.width = Math.max(1, Math.round(canvas.clientWidth * devicePixelRatio));
  canvas.height = Math.max(1, Math.round(canvas.clientHeight * devicePixelRatio));
  if (isWhole) return show_whole();
  view.x = canvas.width / 2 - middle[0] * view.size;
  view.y = canvas.height / 2 - middle[1] * view.size;
  move(0, 0);
};

const interpolate = (values, across, down) => {
  const steps = data.places.side - 1;
  const column = Math.min(steps - 1, Math.floor(across * steps));
  const row = Math.min(steps - 1, Math.floor(down * steps));
  const [a, b] = [across * steps - column, down * steps - row];
  const at = (r, c) => values[r * data.places.side + c];
  return (1 - b) * ((1 - a) * at(row, column) + a * at(row, column + 1))
    + b * ((1 - a) * at(row + 1, column) + a * at(row + 1, column + 1));
};
const read = (x, y) => {
  const [across, down] = [(x - view.x) / view.size / columns, (y - view.y) / view.size / rows];
  if (!(across >= 0 && across < 1 && down >= 0 && down < 1)) {
    readout.textContent = "Outside the map.";
    return;
  }
  const cell = Math.floor(down * rows) * columns + Math.floor(across * columns);
  const label = planes.label[cell];
  let said = "no class";
  if (label !== NONE) {
    const entropy = planes.entropy[cell] / (NONE - 1) * data.largestEntropy;
    const size = planes.setSize[cell];
    said = `${data.classes[label].name}, entropy ${entropy.toFixed(2)}, ${size} class${size === 1 ? "" : "es"} in the set`
      + (planes.unlike[cell] ? ", unlike all training chips" : "");
  }
  const longitude = (interpolate(data.places.longitude, across, down) + 540) % 360 - 180;
  const latitude = interpolate(data.places.latitude, across, down);
  const strong = document.createElement("b");
  strong.textContent = said;
  const east = Math.round(left + across * (right - left)), north = Math.round(top_ - down * (top_ - bottom));
  readout.replaceChildren(strong, ` · ${latitude.toFixed(5)}° N, ${longitude.toFixed(5)}° E · easting ${east}, northing ${north}`);
};
const read_middle = () => read(canvas.width / 2, canvas.height / 2);

const pointers = new Map();
const place_of = (event) => {
  const box = canvas.getBoundingClientRect();
  return [(event.clientX - box.left) * devicePixelRatio, (event.clientY - box.top) * devicePixelRatio];
};
const listen = () => {
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, place_of(event));
    read(...place_of(event));
  });
  for (const name of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(name, (event) => pointers.delete(event.pointerId));
  }
  canvas.addEventListener("pointermove", (event) => {
    const now = place_of(event), before = pointers.get(event.pointerId);
    if (!before) return read(...now);
    pointers.set(event.pointerId, now);
    const other = [...pointers].find(([id]) => id !== event.pointerId);
    if (!other) return move(now[0] - before[0], now[1] - before[1]);
    const distance = ([x, y]) => Math.hypot(x - other[1][0], y - other[1][1]);
    zoom(distance(now) / Math.max(1, distance(before)), ...other[1]);
  });
  canvas.addEventListener("wheel", (event) => {
    // Without focus, the wheel scrolls the page.
    if (!event.ctrlKey && document.activeElement !== canvas) return;
    event.preventDefault();
    zoom(1.0015 ** -event.deltaY, ...place_of(event));
  }, { passive: false });
  const step = 60 * devicePixelRatio;
  const keys = {
    ArrowLeft: () => move(step, 0), ArrowRight: () => move(-step, 0),
    ArrowUp: () => move(0, step), ArrowDown: () => move(0, -step),
    "+": () => zoom(1.5), "=": () => zoom(1.5), "-": () => zoom(1 / 1.5), "0": show_whole,
  };
  canvas.addEventListener("keydown", (event) => {
    if (!keys[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    keys[event.key]();
    read_middle();
  });
  canvas.addEventListener("focus", draw);
  canvas.addEventListener("blur", draw);
  document.getElementById("closer").addEventListener("click", () => zoom(1.5));
  document.getElementById("farther").addEventListener("click", () => zoom(1 / 1.5));
  document.getElementById("whole").addEventListener("click", show_whole);
  opacity.addEventListener("input", draw);
  for (const input of document.querySelectorAll("input[name=layer]")) {
    input.addEventListener("change", () => {
      document.getElementById("ramp").hidden = layer() !== "entropy";
      document.getElementById("unlike").hidden = layer() !== "unlike";
      draw();
    });
  }
  new ResizeObserver(resize).observe(canvas);
};

const start = async () => {
  const bytes = await inflate(data.planes);
  const cells = rows * columns;
  const part = (first, number) => bytes.subarray(first * cells, (first + number) * cells);
  planes = { label: part(0, 1), entropy: part(1, 1), unlike: part(2, 1), setSize: part(3, 1), scene: part(4, 3) };
  layers = Object.fromEntries(Object.keys(colourOf).map((name) => [name, draw_layer(name)]));
  listen();
  resize();
};
start();
