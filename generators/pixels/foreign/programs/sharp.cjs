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
  // `sharp(data).resize(width, height, {fit: "fill"})`, which shrinks a JPEG while it is decoded, as RGB of 8 bits.
  async resize(data, [width, height], { kernel }) {
    const image = sharp(data, { limitInputPixels: Number(mostPixels) }).resize(width, height, { fit: "fill", kernel });
    return image.removeAlpha().toColourspace("srgb").raw({ depth: "uchar" }).toBuffer({ resolveWithObject: true });
  },
});

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
    return { error: String(error.message || error) };
  }
}

async function main() {
  const say = (line) => fs.writeSync(1, JSON.stringify(line) + "\n");
  let library;
  try {
    const sharp = require(path.join(modules, "sharp"));
    sharp.concurrency(1); // a process a core runs
    sharp.cache(false);
    library = calls(sharp);
    const { sharp: own, vips, mozjpeg, jpeg } = sharp.versions;
    const told = { sharp: own, "sharp/libvips": vips, "sharp/mozjpeg": mozjpeg, "sharp/libjpeg": jpeg };
    say({ versions: Object.fromEntries(Object.entries(told).filter(([, version]) => version)) });
  } catch (error) {
    return say({ error: String(error.message || error).split("\n")[0] });
  }
  process.on("SIGINT", () => {}); // Ctrl-C is the parent's
  for await (const line of readline.createInterface({ input: process.stdin })) say(await answer(library, JSON.parse(line)));
}

main();
