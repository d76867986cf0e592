
"use strict";
const boxes = [...document.querySelectorAll("input[data-id]")];
const save = document.getElementById("save");
const place = `kesikaran ${document.title}`; // pages of all runs share one store where they are files

// Some browsers keep nothing for a page that is a file: then the ticks last as long as the page is open.
function kept() {
  try {
    return new Set(JSON.parse(localStorage.getItem(place)) || []);
  } catch {
    return new Set();
  }
}
function keep(box) {
  try {
    const ids = kept(); // of the store anew: the page may be open twice, or show more images another time
    if (box.checked) ids.add(box.dataset.id);
    else ids.delete(box.dataset.id);
    localStorage.setItem(place, JSON.stringify([...ids]));
  } catch {
    return;
  }
}
function count() {
  const ticked = boxes.filter((box) => box.checked).length;
  document.getElementById("count").textContent = `${ticked} ${ticked === 1 ? "label" : "labels"} ticked as wrong`;
  save.disabled = ticked === 0;
}

const before = kept();
for (const box of boxes) {
  box.checked = before.has(box.dataset.id);
  box.addEventListener("change", () => {
    keep(box);
    count();
  });
}
count();
save.addEventListener("click", () => {
  const rows = boxes.filter((box) => box.checked)
    .map((box) => `${box.dataset.id},${box.dataset.label},${1 - Number(box.dataset.label)}\n`);
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob(["object_id,label,corrected\n", ...rows], { type: "text/csv" }));
  link.download = "corrections.csv";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000); // the browser may read it after the click
});
