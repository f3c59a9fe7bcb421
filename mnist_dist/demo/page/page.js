"use strict";

const paper = document.getElementById("paper");
const pen = paper.getContext("2d", { willReadFrequently: true });
const seen = document.getElementById("seen");
const answer = document.getElementById("answer");
const mark = document.getElementById("cursor");
const bars = document.getElementById("bars");
const PEN_WIDTH = 20;
const KEY_STEP = 8;

let strokes = []; // each a list of points [x, y], in the canvas's pixels
let cursor = null; // the keyboard's pen: {x, y, down}
let asking = false; // one request at a time; the newest drawing follows
let stale = false;
let generation = 0; // counts what was asked for, so that a late answer is dropped

function redraw() {
  pen.clearRect(0, 0, paper.width, paper.height);
  pen.lineCap = pen.lineJoin = "round";
  pen.lineWidth = PEN_WIDTH;
  for (const stroke of strokes) {
    pen.beginPath();
    pen.moveTo(...stroke[0]);
    for (const [x, y] of stroke) pen.lineTo(x + 0.01, y); // a line of no length isn't drawn
    pen.stroke();
  }
}

function showCursor() {
  mark.hidden = cursor === null;
  if (!cursor) return;
  mark.style.left = `${(100 * cursor.x) / paper.width}%`;
  mark.style.top = `${(100 * cursor.y) / paper.height}%`;
  mark.classList.toggle("down", cursor.down);
}

function ink() {
  const pixels = pen.getImageData(0, 0, paper.width, paper.height).data;
  const alpha = new Uint8Array(paper.width * paper.height);
  for (let i = 0; i < alpha.length; i++) alpha[i] = pixels[4 * i + 3];
  return alpha;
}

async function ask(path, body) {
  const own = ++generation;
  let found;
  try {
    const reply = await fetch(path, {
      method: "POST",
      headers: { "Content-Type": "application/octet-stream" },
      body,
    });
    found = await reply.json();
  } catch {
    found = { error: "The program has ended; start it again." };
  }
  if (own === generation) show(found);
}

function show(found) {
  if (found.error) {
    blank();
    answer.textContent = found.error;
    return;
  }
  const names = found.names;
  const best = found.probabilities.indexOf(Math.max(...found.probabilities));
  const remark = found.remark ? `${found.remark}: ` : "";
  answer.textContent = `${remark}${names[best]} (${percent(found.probabilities[best])})`;
  if (bars.children.length !== names.length) makeBars(names);
  found.probabilities.forEach((probability, i) => {
    const row = bars.children[i];
    row.classList.toggle("best", i === best);
    row.children[1].firstChild.style.transform = `scaleX(${probability})`;
    row.children[2].textContent = percent(probability);
  });
  drawSeen(found);
}

function percent(share) {
  return `${(100 * share).toFixed(1)} %`;
}

function makeBars(names) {
  bars.replaceChildren(
    ...names.map((name) => {
      const row = document.createElement("div");
      row.className = "bar";
      const label = document.createElement("span");
      label.textContent = name;
      const track = document.createElement("div");
      track.className = "track";
      const fill = document.createElement("div");
      fill.className = "fill";
      track.append(fill);
      row.append(label, track, document.createElement("span"));
      return row;
    }),
  );
}

function drawSeen(found) {
  const bytes = atob(found.pixels);
  seen.width = found.width;
  seen.height = found.height;
  const context = seen.getContext("2d");
  const image = context.createImageData(found.width, found.height);
  for (let i = 0; i < bytes.length; i++) {
    image.data.fill(bytes.charCodeAt(i), 4 * i, 4 * i + 3);
    image.data[4 * i + 3] = 255;
  }
  context.putImageData(image, 0, 0);
}

function blank() {
  answer.textContent = "\u00a0";
  bars.replaceChildren();
  seen.getContext("2d").clearRect(0, 0, seen.width, seen.height);
}

async function changed() {
  stale = true;
  if (asking) return;
  asking = true;
  while (stale) {
    stale = false;
    if (strokes.length) await ask("/drawing", ink());
  }
  asking = false;
}

function clear() {
  strokes = [];
  cursor = null;
  generation++;
  redraw();
  showCursor();
  blank();
}

function undo() {
  strokes.pop();
  if (!strokes.length) return clear();
  redraw();
  changed();
}

function photo(file) {
  if (!file) return;
  clear();
  answer.textContent = "Reading the photo";
  ask("/photo", file);
}

function point(event) {
  const box = paper.getBoundingClientRect();
  const scale = paper.width / box.width;
  return [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
}

let pointer = null; // the pointer that draws; a second finger doesn't
paper.addEventListener("pointerdown", (event) => {
  if (pointer !== null || (event.pointerType === "mouse" && event.button !== 0)) return;
  pointer = event.pointerId;
  paper.setPointerCapture(pointer);
  strokes.push([point(event)]);
  redraw();
  changed();
});
paper.addEventListener("pointermove", (event) => {
  if (event.pointerId !== pointer) return;
  const moves = event.getCoalescedEvents ? event.getCoalescedEvents() : [event];
  strokes.at(-1)?.push(...(moves.length ? moves : [event]).map(point));
  redraw();
  changed();
});
for (const name of ["pointerup", "pointercancel"]) {
  paper.addEventListener(name, (event) => {
    if (event.pointerId === pointer) pointer = null;
  });
}

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
paper.addEventListener("keydown", (event) => {
  const move = ARROWS[event.key];
  if (!move && event.key !== " ") return;
  event.preventDefault();
  cursor = cursor || { x: paper.width / 2, y: paper.height / 2, down: false };
  if (!move) {
    cursor.down = !cursor.down;
    if (cursor.down) strokes.push([[cursor.x, cursor.y]]);
  } else {
    const inside = (value) => Math.min(Math.max(value, PEN_WIDTH / 2), paper.width - PEN_WIDTH / 2);
    cursor.x = inside(cursor.x + KEY_STEP * move[0]);
    cursor.y = inside(cursor.y + KEY_STEP * move[1]);
    if (cursor.down) strokes.at(-1).push([cursor.x, cursor.y]);
  }
  redraw();
  showCursor();
  if (cursor.down) changed();
});
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey && event.key !== "z") return;
  if (event.altKey || event.metaKey) return;
  if (event.key === "c" || event.key === "Escape") clear();
  if (event.key === "z") undo();
});

document.getElementById("clear").addEventListener("click", clear);
document.getElementById("undo").addEventListener("click", undo);
document.getElementById("file").addEventListener("change", (event) => {
  photo(event.target.files[0]);
  event.target.value = "";
});
for (const name of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(name, (event) => {
    event.preventDefault(); // else the browser opens the photo in place of the page
    paper.classList.toggle("drop", name === "dragover");
    if (name === "drop") photo(event.dataTransfer.files[0]);
  });
}
