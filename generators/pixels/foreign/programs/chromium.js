// Runs in the browser's page: draws on canvases for chromium.py, which made the page.
//
// A call is a text message, `[function, ...arguments]` as JSON, followed by a binary message with its data. The answer
// is a text message, `{shape: [height, width]}` followed by the pixels, or `{error}`. Images are 8-bit RGB.
"use strict";

// A canvas drawn by the CPU, as it is without a GPU.
function canvas(width, height) {
  const element = Object.assign(document.createElement("canvas"), { width, height });
  return element.getContext("2d", { colorSpace: "srgb", willReadFrequently: true });
}

// The pixels of a canvas, which is then emptied: its memory would wait for the next garbage collection.
function taken(context) {
  const { width, height } = context.canvas;
  refuseLost(context);
  const image = context.getImageData(0, 0, width, height);
  context.canvas.width = 0;
  return image;
}

// A canvas beyond the browser's size limit draws nothing, without an error.
function refuseLost(context) {
  const { width, height } = context.canvas;
  if (context.isContextLost()) throw new Error(`a canvas cannot have ${width}x${height} pixels`);
}

function withoutAlpha({ data }) {
  const pixels = new Uint8Array((data.length / 4) * 3);
  for (let from = 0, to = 0; to < pixels.length; from++) {
    pixels[to++] = data[from++];
    pixels[to++] = data[from++];
    pixels[to++] = data[from++];
  }
  return pixels;
}

function withAlpha(pixels, width, height) {
  const image = new ImageData(width, height);
  const { data } = image;
  for (let from = 0, to = 0; from < pixels.length; ) {
    data[to++] = pixels[from++];
    data[to++] = pixels[from++];
    data[to++] = pixels[from++];
    data[to++] = 255;
  }
  return image;
}

const calls = {
  async decode(data, most) {
    const image = await createImageBitmap(new Blob([data]));
    const { width, height } = image;
    try {
      if (width * height > most) throw new Error(`${width}x${height} pixels are more than ${most}`);
      const context = canvas(width, height);
      context.drawImage(image, 0, 0);
      return taken(context);
    } finally {
      image.close();
    }
  },

  resize(data, height, width, newHeight, newWidth) {
    const source = canvas(width, height);
    source.putImageData(withAlpha(new Uint8Array(data), width, height), 0, 0);
    refuseLost(source);
    const target = canvas(newWidth, newHeight);
    target.drawImage(source.canvas, 0, 0, newWidth, newHeight);
    source.canvas.width = 0;
    return taken(target);
  },
};

function serve(address) {
  const socket = new WebSocket(address);
  socket.binaryType = "arraybuffer";
  let call;
  socket.onmessage = async ({ data }) => {
    if (typeof data === "string") {
      call = JSON.parse(data);
      return;
    }
    const [name, ...given] = call;
    try {
      const image = await calls[name](data, ...given);
      const pixels = withoutAlpha(image);
      socket.send(JSON.stringify({ shape: [image.height, image.width] }));
      socket.send(pixels);
    } catch (error) {
      socket.send(JSON.stringify({ error: error.message }));
    }
  };
}
