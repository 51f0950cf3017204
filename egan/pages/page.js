"use strict";

const compare = (one, other) => {
  const numbers = [Number(one), Number(other)];
  return numbers.some(Number.isNaN) ? one.localeCompare(other) : numbers[0] - numbers[1] || 0;
};

const sort = (table, column) => {
  const heads = [...table.tHead.rows[0].cells];
  const rising = heads[column].getAttribute("aria-sort") !== "ascending";
  for (const head of heads) head.removeAttribute("aria-sort");
  heads[column].setAttribute("aria-sort", rising ? "ascending" : "descending");
  const value = (row) => row.cells[column].dataset.value;
  const order = (one, other) => {
    const [left, right] = [value(one), value(other)];
    if (left === "" || right === "") return (left === "") - (right === ""); // unknown comes last
    return rising ? compare(left, right) : compare(right, left);
  };
  table.tBodies[0].append(...[...table.tBodies[0].rows].sort(order));
};

const CONFIG = {
  responsive: true,
  displaylogo: false,
  showSendToCloud: false, // nothing leaves the page
  modeBarButtonsToRemove: ["select2d", "lasso2d", "zoomIn2d", "zoomOut2d"],
};

const draw = (chart, base, figure) => {
  const data = [...(base?.data ?? []), ...(figure?.data ?? [])];
  const layout = { ...base?.layout, ...figure?.layout };
  chart.hidden = false; // before plotly measures it
  chart.classList.toggle("square", layout.meta === "square");
  chart.style.height = layout.height ? `${layout.height}px` : "";
  Plotly.react(chart, data, layout, CONFIG);
};

const show = (choice, specification, controls) => {
  const chosen = controls.map((control) => control.value).join(",");
  const view = specification.views[chosen] ?? { note: "There is no such run." };
  const picture = choice.querySelector(".picture");
  if (specification.base || view.figure) {
    draw(choice.querySelector(".chart"), specification.base, view.figure);
  }
  picture.hidden = !view.image;
  if (view.image) picture.src = view.image;
  choice.querySelector(".note").textContent = view.note;
  for (const slider of choice.querySelectorAll("input")) {
    slider.nextElementSibling.textContent = slider.dataset.names.split("|")[slider.value];
  }
};

for (const table of document.querySelectorAll("table")) {
  table.querySelectorAll("th button").forEach((button, column) => {
    button.addEventListener("click", () => sort(table, column));
  });
}

for (const choice of document.querySelectorAll(".choice")) {
  const specification = JSON.parse(choice.querySelector("script").textContent);
  const controls = [...choice.querySelectorAll("select, input")];
  const update = () => show(choice, specification, controls);
  controls.forEach((control) => control.addEventListener("input", update));
  update();
}
