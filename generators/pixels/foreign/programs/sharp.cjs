// What runs in a process of Node.js: calls sharp for whoever started it.
//
//     node sharp.cjs PARENT MOST_PIXELS MODULES
//
// It speaks as serve.py does, which see: requests are lines of JSON on standard input, answers on standard output, and
// images travel in memory that the parent has made, `/proc/PARENT/fd/N`. `MODULES` is the folder that sharp is in.
"use strict";

const fs = require("node:fs");
const path = require("node:path");
const readline = require("node:readline");

const [parent, mostPixels, modules] = process.argv.slice(2);

// What is read, by libvips' names: images of pixels. What draws, as SVG does, may ask for other files.
const FORMATS = ["Jpeg", "Uhdr", "Png", "Webp", "Tiff", "Nsgif", "Heif"];
// What libvips, libjpeg, C++ and Node.js say where there is no memory.
const NO_MEMORY = /out of memory|insufficient memory|bad_alloc|failed to allocate|allocation failed/i;
// Milliseconds between two looks at whether the parent lives.
const LOOK = 1000;

// The parent's memory as it is seen here: descriptors by the parent's own numbers.
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
  // `sharp(data).resize(width, height, {fit: "fill", kernel})`, as RGB of 8 bits. A JPEG is shrunk while it is decoded
  // (`fastShrinkOnLoad`, sharp's default): by 2, 4 or 8 where it becomes a third, a fifth or a ninth of its size or
  // less; a WebP, to its size. What is to become larger, libvips interpolates (bicubic) in place of any kernel. Pixels
  // are converted to sRGB by the profile that is embedded (CMYK without one, by one of libvips'), 16 bits become 8, gray
  // three equal channels; of what is animated it is the first frame, and it is not turned as EXIF says. Of pixels with
  // alpha, sharp can only resize what it has multiplied by it: what is transparent has no part in what is not, and alpha
  // is dropped then. What libjpeg warns of is an error, as a truncated file is (`failOn`, by default "warning").
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
  sharp.concurrency(1); // a process a core runs
  sharp.cache(false);
  sharp.block({ operation: ["VipsForeignLoad"] });
  sharp.unblock({ operation: FORMATS.map((name) => `VipsForeignLoad${name}Buffer`) });
  return sharp;
}

function versions(sharp) {
  const { sharp: own, vips, mozjpeg, jpeg } = sharp.versions;
  const told = { sharp: own, "sharp/libvips": vips, "sharp/mozjpeg": mozjpeg, "sharp/libjpeg": jpeg };
  return Object.fromEntries(Object.entries(told).filter(([, version]) => version));
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

// Have a descriptor lead nowhere: the lowest number that is free is taken.
function silence(number) {
  fs.closeSync(number);
  fs.openSync("/dev/null", "w");
}

// A hung call, which is in a thread of its own, must not outlive the parent. process.exit would wait for it.
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
  silence(1); // what a library prints is no answer
  let library;
  try {
    const sharp = load();
    library = calls(sharp);
    say({ versions: versions(sharp) });
  } catch (error) {
    return say({ error: String(error.message || error).split("\n")[0] });
  }
  silence(2); // nobody reads on: millions of images may have a warning each
  for await (const line of readline.createInterface({ input: process.stdin })) say(await answer(library, JSON.parse(line)));
}

main();
