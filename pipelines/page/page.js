// Compares two variants: their distance, and their pixels in a detail of a sample.
"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const at = (id) => document.getElementById(id);
const [first, second] = [at("a"), at("b")];
const figure = (value) => value >= 100 ? value.toFixed(0) : Number(value.toPrecision(value >= 1 ? 3 : 2)).toString();
const label = (place) => data.names[place];

// Each group's values of a detail, channel by channel: the first as they are, the others as differences from it.
const unpacked = new Map();
const unpack = async (number) => {
  const detail = data.details[number];
  const packed = Uint8Array.from(atob(detail.data), (letter) => letter.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  const bytes = await new Response(stream).arrayBuffer();
  const all = detail.bytes === 1 ? new Uint8Array(bytes) : new Uint16Array(bytes);
  const [, , width, height] = detail.box;
  const length = width * height * detail.channels;
  const values = [];
  let place = 0;
  for (const there of detail.there) {
    if (!there) {
      values.push(null);
      continue;
    }
    const own = all.slice(place, place + length);
    if (place) for (let index = 0; index < length; index += 1) own[index] += all[index];
    values.push(own);
    place += length;
  }
  return values;
};
const valuesOf = (number) => {
  if (!unpacked.has(number)) unpacked.set(number, unpack(number));
  return unpacked.get(number);
};

const draw = (canvas, detail, values, low, gain) => {
  const [, , width, height] = detail.box;
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d");
  if (!values) {
    context.clearRect(0, 0, width, height);
    return;
  }
  const image = context.createImageData(width, height);
  const plane = width * height;
  for (let pixel = 0; pixel < plane; pixel += 1) {
    for (let channel = 0; channel < 3; channel += 1) {
      const own = detail.channels === 3 ? channel : 0;
      image.data[4 * pixel + channel] = (values[own * plane + pixel] - low) * gain;
    }
    image.data[4 * pixel + 3] = 255;
  }
  context.putImageData(image, 0, 0);
};
const range = (values) => values.reduce(([low, high], one) => [Math.min(low, one), Math.max(high, one)], [65535, 0]);

let flipped = false;
let turn = 0;
const show = async () => {
  const chosen = document.querySelector("input[name=sample]:checked");
  if (!chosen) return;
  const mine = (turn += 1);
  const detail = data.details[chosen.value];
  const values = await valuesOf(Number(chosen.value));
  if (mine !== turn) return; // another choice was made meanwhile
  const [a, b] = [Number(first.value), Number(second.value)];
  const [low, high] = detail.bytes === 1 ? [0, 255] : range(values[0]);
  const stretch = 255 / (high - low || 1);
  draw(at("canvas-a"), detail, values[flipped ? b : a], low, stretch);
  draw(at("canvas-b"), detail, values[flipped ? a : b], low, stretch);
  const other = "has a frame of another size";
  at("caption-a").textContent = flipped ? `B: ${label(b)}` : `A: ${label(a)}`;
  at("caption-b").textContent = flipped ? `A: ${label(a)}` : `B: ${label(b)}`;
  if (!values[a] || !values[b]) {
    draw(at("canvas-d"), detail, null);
    at("caption-d").textContent = `No difference to show: ${label(values[a] ? b : a)} ${other}.`;
    return;
  }
  const difference = values[a].map((value, index) => Math.abs(value - values[b][index]));
  const [, largest] = range(difference);
  const gain = Number(at("gain").value) * (detail.bytes === 1 ? 1 : stretch) || 255 / (largest || 1);
  draw(at("canvas-d"), detail, difference, 0, gain);
  const unit = detail.bytes === 1 ? 1 : data.steps;
  const mean = difference.reduce((sum, value) => sum + value, 0) / difference.length / unit;
  const changed = difference.reduce((sum, value) => sum + (value > 0), 0) / difference.length;
  at("caption-d").textContent = largest
    ? `Difference: mean ${figure(mean)}, largest ${figure(largest / unit)}, ${(100 * changed).toFixed(1)}% of the values differ`
    : "No difference in this detail";
};

const update = () => {
  const [a, b] = [Number(first.value), Number(second.value)];
  const [row, column] = [data.order.indexOf(a), data.order.indexOf(b)];
  const cell = at("matrix").tBodies[0].rows[row].cells[column + 1];
  const none = a === b ? "the same on every sample" : "no sample can be compared";
  at("distance").textContent = a !== b && cell.textContent !== "–" ? `${data.measure} ${cell.textContent}` : none;
  for (const chosen of document.querySelectorAll("#matrix td.chosen")) chosen.classList.remove("chosen");
  cell.classList.add("chosen");
  show();
};

if (first) {
  for (const select of [first, second]) select.addEventListener("change", update);
  at("matrix").addEventListener("click", (event) => {
    const cell = event.target.closest("tbody td");
    if (!cell || cell.classList.contains("same")) return;
    first.value = data.order[cell.parentElement.rowIndex - 1];
    second.value = data.order[cell.cellIndex - 1];
    update();
    at("pair").scrollIntoView();
  });
  for (const input of document.querySelectorAll("input[name=sample]")) {
    input.addEventListener("change", show);
  }
  const flip = () => {
    flipped = !flipped;
    at("flip").setAttribute("aria-pressed", String(flipped));
    show();
  };
  at("flip")?.addEventListener("click", flip);
  at("gain")?.addEventListener("change", show);
  if (at("flip")) document.addEventListener("keydown", (event) => {
    const types = event.target.tagName === "SELECT"; // whose options a letter chooses
    if (event.key.toLowerCase() === "f" && !types && !event.ctrlKey && !event.metaKey && !event.altKey) flip();
  });
  update();
}
