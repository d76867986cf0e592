"use strict";

const element = (id) => document.getElementById(id);
const sigmoid = (logit) => 1 / (1 + Math.exp(-logit));
const percent = (share) => `${+(100 * share).toPrecision(3)} %`;
const named = (label) => (/^[01]$/.test(FACTS.labels[label]) ? `label ${label}` : FACTS.labels[label]);
const LONGEST_SIDE = 16384; // of a canvas, in any browser
const PREVIEW = 320;
const counts = { images: 0, label: [0, 0], unsure: 0, refused: 0 };

function bytes(base64) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(base64);
  const text = atob(base64);
  const found = new Uint8Array(text.length);
  for (let place = 0; place < text.length; place++) found[place] = text.charCodeAt(place);
  return found;
}

async function unpacked(base64) {
  const stream = new Blob([bytes(base64)]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

// A function: prepared image, Float32Array [size, size, 3] -> its logit.
async function loaded() {
  self.Module = { wasmBinary: await unpacked(WASM), print: console.debug, printErr: console.debug };
  await LiteRT.loadLiteRt("litert.js");
  const model = await LiteRT.loadAndCompile(bytes(MODEL), { accelerator: "wasm" });
  return async (image) => {
    const input = new LiteRT.Tensor(image, [1, FACTS.image_size, FACTS.image_size, 3]);
    const [output] = await model.run([input]);
    const [logit] = output.toTypedArray();
    input.delete();
    output.delete();
    return logit;
  };
}

// The image as people see it: turned as its file says, what is transparent on white. {pixels, preview}
async function seen(file) {
  const options = { imageOrientation: "from-image", colorSpaceConversion: "none" };
  const bitmap = await createImageBitmap(file, options).catch(() => {
    throw new Error("This browser cannot read it as an image.");
  });
  const { width, height } = bitmap;
  if (Math.max(width, height) > LONGEST_SIDE) throw new Error(`${width} x ${height} px is too large for a page.`);
  const pixels = drawn(bitmap, width, height, { willReadFrequently: true }).getImageData(0, 0, width, height);
  const scale = Math.min(1, PREVIEW / Math.max(width, height));
  const preview = drawn(bitmap, Math.max(1, Math.round(width * scale)), Math.max(1, Math.round(height * scale)));
  bitmap.close();
  return { pixels, preview: preview.canvas };
}

function drawn(bitmap, width, height, options = {}) {
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  const context = canvas.getContext("2d", options);
  context.fillStyle = "white";
  context.fillRect(0, 0, width, height);
  context.drawImage(bitmap, 0, 0, width, height);
  return context;
}

function part(kind, className, text = "") {
  return Object.assign(document.createElement(kind), { className, textContent: text });
}

function card(file) {
  const made = part("li", "card");
  made.dataset.name = file.name;
  made.append(part("div", "picture"), Object.assign(part("h2", "", file.name), { title: file.name }));
  made.append(part("p", "pending", "…"));
  element("images").append(made);
  return made;
}

function judged(made, logit, preview) {
  const label = Number(logit >= FACTS.threshold);
  const probability = sigmoid(logit);
  const isSure = FACTS.band === null ? null : logit < FACTS.band[0] || logit > FACTS.band[1];
  Object.assign(made.dataset, { logit, probability, label, ...(isSure !== null && { sure: isSure }) });
  preview.setAttribute("role", "img");
  preview.setAttribute("aria-label", `The image ${made.dataset.name}`);
  made.querySelector(".picture").append(preview);
  const decision = part("p", "decision");
  decision.append(part("strong", "", named(label)));
  if (isSure !== null) decision.append(part("span", isSure ? "sure" : "unsure", isSure ? "sure" : "not sure"));
  const about = part("p", "probability", `probability of ${named(1)} `);
  about.append(part("data", "", probability.toFixed(3)));
  about.lastChild.value = probability;
  made.querySelector(".pending").replaceWith(decision, scale(probability), about);
  counts.label[label]++;
  counts.unsure += isSure === false;
}

// The probability from 0 to 1 as a line, with the band of "not sure" and the threshold.
function scale(probability) {
  const made = part("div", "scale");
  made.setAttribute("aria-hidden", "true");
  if (FACTS.band !== null) {
    const [low, high] = FACTS.band.map(sigmoid);
    const band = part("i", "band");
    Object.assign(band.style, { left: `${100 * low}%`, width: `${100 * (high - low)}%` });
    made.append(band);
  }
  for (const [kind, at] of [["threshold", sigmoid(FACTS.threshold)], ["needle", probability]]) {
    const mark = part("i", kind);
    mark.style.left = `${100 * at}%`;
    made.append(mark);
  }
  return made;
}

function count() {
  const { images, label, unsure, refused } = counts;
  const parts = [`${label[1]} ${named(1)}`, `${label[0]} ${named(0)}`];
  if (FACTS.band !== null) parts.push(`${unsure} of them not sure`);
  if (refused) parts.push(`${refused} not judged`);
  element("counts").textContent = `${images} image${images === 1 ? "" : "s"}: ${parts.join(", ")}`;
}

let queue = Promise.resolve();

function take(files, logitOf) {
  for (const file of files) {
    const made = card(file);
    queue = queue.then(async () => {
      try {
        const { pixels, preview } = await seen(file);
        const began = performance.now();
        const image = prepared(pixels.data, pixels.width, pixels.height, FACTS);
        const resized = performance.now();
        const logit = await logitOf(image);
        Object.assign(made.dataset, { resizeMs: resized - began, modelMs: performance.now() - resized });
        judged(made, logit, preview);
      } catch (error) {
        counts.refused++;
        made.querySelector(".pending").replaceWith(part("p", "failed", error.message));
      }
      counts.images++;
      count();
      await new Promise((resolve) => setTimeout(resolve)); // lets the browser draw
    });
  }
}

function about() {
  document.title = element("title").textContent = FACTS.title;
  const lines = [`An image is ${named(1)} from a probability of ${sigmoid(FACTS.threshold).toFixed(3)} on.`];
  if (FACTS.band !== null) {
    const [low, high] = FACTS.band.map((logit) => sigmoid(logit).toFixed(3));
    lines.push(`Not sure: a probability from ${low} to ${high}. Of images like those of validation, and of either ` +
      `label, at most ${percent(FACTS.error)} are called the other label and sure.`);
  }
  element("about").append(...lines.map((line) => part("p", "", line)));
}

async function start() {
  const drop = element("drop");
  element("sharp").onchange = ({ target }) => element("images").classList.toggle("sharp", target.checked);
  try {
    about();
    const logitOf = await loaded();
    element("files").onchange = ({ target }) => {
      take([...target.files], logitOf);
      target.value = ""; // so that the same file can be chosen again
    };
    document.ondragover = (event) => {
      event.preventDefault();
      drop.classList.add("over");
    };
    document.ondragleave = () => drop.classList.remove("over");
    document.ondrop = (event) => {
      event.preventDefault();
      drop.classList.remove("over");
      take([...event.dataTransfer.files], logitOf);
    };
    element("files").disabled = false;
    element("state").textContent = "Several at once are welcome.";
    document.body.dataset.ready = "";
  } catch (error) {
    element("state").textContent = `The model cannot be loaded: ${error.message}. Is the folder “browser” beside this page whole?`;
    drop.classList.add("failed");
  }
}

start();
