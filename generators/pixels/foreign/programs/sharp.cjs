// Runs in a Node.js process: calls sharp on behalf of its parent.
//
//     node sharp.cjs PARENT MOST_PIXELS MODULES
//
// It has the protocol of serve.py (see there): requests are lines of JSON on standard input, answers on standard
// output, and images are passed in the parent's memory, `/proc/PARENT/fd/N`. `MODULES` is the folder that contains
// sharp.
"use strict";

const fs = require("node:fs");
const path = require("node:path");
const readline = require("node:readline");

const [parent, mostPixels, modules] = process.argv.slice(2);

// The loaders that are allowed, by libvips' names: only images of pixels. SVG and its like may ask for other files.
const FORMATS = ["Jpeg", "Uhdr", "Png", "Webp", "Tiff", "Nsgif", "Heif"];
// Messages of libvips, libjpeg, C++ and Node.js when memory runs out.
const NO_MEMORY = /out of memory|insufficient memory|bad_alloc|failed to allocate|allocation failed/i;
// Milliseconds between checks that the parent is alive.
const LOOK = 1000;

// The parent's memory: our descriptors by the parent's.
const memory = new Map();

function open(number) {
  if (!memory.has(number)) memory.set(number, fs.openSync(`/proc/${parent}/fd/${number}`, "r+"));
  return memory.get(number);
}

function read(number, size) {
  const data = Buffer.allocUnsafe(size);
  let done = 0;
  while (done < size) done += fs.readSync(open(number), data, done, size - done, done);
  return data;
}

function write(number, data) {
  let done = 0;
  while (done < data.length) done += fs.writeSync(open(number), data, done, data.length - done, done);
}

function forget(number) {
  if (!memory.has(number)) return;
  fs.closeSync(memory.get(number));
  memory.delete(number);
}

const calls = (sharp) => ({
  // `sharp(data).resize(width, height, {fit: "fill", kernel})`, as 8-bit RGB. A JPEG is shrunk while it is decoded
  // (`fastShrinkOnLoad`, sharp's default): by 2, 4 or 8 if it becomes at most a third, a fifth or a ninth of its size;
  // a WebP, to the target size. Images that grow are interpolated by libvips (bicubic), whatever the kernel. Pixels are
  // converted to sRGB by the embedded profile (CMYK without one, by a profile of libvips); 16 bits become 8, and gray
  // becomes three equal channels; of an animation, the first frame is taken; EXIF orientation is not applied. sharp
  // always multiplies pixels by alpha before a resize, so that transparent ones do not affect others; alpha is then
  // dropped. libjpeg's warnings are errors, as is a truncated file (`failOn`, by default "warning").
  async resize(data, [width, height], { kernel }) {
    const image = sharp(data, { limitInputPixels: Number(mostPixels) }).resize(width, height, { fit: "fill", kernel });
    const made = await image.removeAlpha().raw().toBuffer({ resolveWithObject: true });
    if (made.info.width !== width || made.info.height !== height) {
      throw new Error(`${made.info.width}x${made.info.height} pixels instead of ${width}x${height}`);
    }
    return made;
  },
});

function load() {
  const sharp = require(path.join(modules, "sharp"));
  sharp.concurrency(1); // one process runs per core
  sharp.cache(false);
  sharp.block({ operation: ["VipsForeignLoad"] });
  sharp.unblock({ operation: FORMATS.map((name) => `VipsForeignLoad${name}Buffer`) });
  return sharp;
}

function versions(sharp) {
  const { sharp: own, vips, mozjpeg, jpeg } = sharp.versions;
  const found = { sharp: own, "sharp/libvips": vips, "sharp/mozjpeg": mozjpeg, "sharp/libjpeg": jpeg };
  return Object.fromEntries(Object.entries(found).filter(([, version]) => version));
}

function failure(error) {
  const reason = String(error.message || error);
  return NO_MEMORY.test(reason) ? { memory: true } : { error: reason.split("\n")[0] };
}

async function answer(library, request) {
  request.forget.forEach(forget);
  try {
    const [number, size] = request.given;
    const made = await library[request.function](read(number, size), request.arguments, request.options);
    const { width, height, channels } = made.info;
    if (channels !== 3) throw new Error(`${channels} channels instead of 3`);
    write(request.made, made.data);
    return { shape: [height, width] };
  } catch (error) {
    return failure(error);
  }
}

// Redirect a descriptor to /dev/null, which gets the lowest free number: the one just closed.
function silence(number) {
  fs.closeSync(number);
  fs.openSync("/dev/null", "w");
}

// A hung call, in a thread of its own, must not outlive the parent. process.exit would wait for it.
function dieWithParent() {
  const look = () => process.ppid === Number(parent) || process.kill(process.pid, "SIGKILL");
  look();
  setInterval(look, LOOK).unref();
}

async function main() {
  dieWithParent();
  process.on("SIGINT", () => {}); // Ctrl-C is the parent's
  const answers = fs.openSync("/proc/self/fd/1", "w");
  const say = (line) => fs.writeSync(answers, JSON.stringify(line) + "\n");
  silence(1); // what a library prints must not be taken for an answer
  let library;
  try {
    const sharp = load();
    library = calls(sharp);
    say({ versions: versions(sharp) });
  } catch (error) {
    return say({ error: String(error.message || error).split("\n")[0] });
  }
  silence(2); // no one reads it any more, and millions of images may cause a warning each
  for await (const line of readline.createInterface({ input: process.stdin })) say(await answer(library, JSON.parse(line)));
}

main();
