// The page's own script: charts in the page's colours, sliders, and t-SNE with the images behind its points.

const dark = matchMedia("(prefers-color-scheme: dark)");
const read = (id) => JSON.parse(document.getElementById(id)?.textContent || "{}");
const specs = read("charts");
const pairs = read("points");

function look(columns) {
  const style = getComputedStyle(document.documentElement);
  const [ink, soft, line, paper] = ["--ink", "--soft", "--line", "--paper"].map((name) => style.getPropertyValue(name).trim());
  const words = { labelColor: ink, titleColor: soft, labelFontSize: 11, titleFontSize: 11, titleFontWeight: "normal" };
  return {
    font: "system-ui, sans-serif",
    view: { stroke: null },
    axis: { ...words, gridColor: line, domainColor: soft, tickColor: soft },
    legend: {
      ...words,
      columns,
      labelFontSize: 12,
      orient: "top",
      symbolStrokeWidth: 2,
      symbolBaseFillColor: soft,
      symbolBaseStrokeColor: soft,
      layout: { bottom: { anchor: "start", direction: "vertical" } },
    },
    text: { color: ink },
    rule: { color: ink },
    style: { rim: { color: paper } },
  };
}

// `ast` interprets Vega's expressions, so that the page's policy need not allow code made of text.
// Colours that are hard to see on a dark ground, and lighter ones in their place.
const lighter = { "#0072b2": "#3f9fdc", "#bd1f01": "#ef6548", "#832db6": "#b683dd", "#3d444d": "#dde2e7" };
const onDark = (spec) => JSON.parse(JSON.stringify(spec).replace(/"(#[0-9a-f]{6})"/g, (whole, colour) => `"${lighter[colour] || colour}"`));

// `column` is the width in pixels that a word of the legend takes.
const draw = async (place, spec, column = 115) => {
  const theme = dark.matches ? "dark" : "light";
  const config = look(Math.max(2, Math.floor(place.clientWidth / column)));
  const options = { actions: false, ast: true, renderer: "svg", config, tooltip: { theme } };
  const { view } = await vegaEmbed(place, dark.matches ? onDark(spec) : spec, options);
  // A chart is one picture with one description, which its place on the page has.
  place.querySelector("svg").setAttribute("aria-hidden", "true");
  return view;
};

// Charts are drawn when they come near the window, and again in other colours.
const drawn = new Set();
const near = new IntersectionObserver(
  (entries) => entries.filter((entry) => entry.isIntersecting).forEach((entry) => show(entry.target)),
  { rootMargin: "400px" },
);
function show(place) {
  if (drawn.has(place)) return;
  drawn.add(place);
  near.unobserve(place);
  drawings.get(place)();
}
const drawings = new Map();
function later(place, drawing) {
  drawings.set(place, drawing);
  near.observe(place);
}
dark.addEventListener("change", () => [...drawn].forEach((place) => drawings.get(place)(true)));
addEventListener("beforeprint", () => [...drawings.keys()].forEach(show));

for (const place of document.querySelectorAll("[data-chart]")) {
  later(place, () => draw(place, specs[place.dataset.chart]));
}

for (const block of document.querySelectorAll(".progress")) {
  const [slider, output] = [block.querySelector("input"), block.querySelector("output")];
  const frames = [...block.querySelectorAll("[data-step]")];
  const move = () => {
    frames.forEach((frame, index) => frame.classList.toggle("shown", index === Number(slider.value)));
    output.value = `step ${Number(frames[slider.value].dataset.step).toLocaleString("en")}`;
    slider.setAttribute("aria-valuetext", output.value);
  };
  slider.addEventListener("input", move);
  move();
}

class Points {
  constructor(block) {
    this.pair = pairs[block.dataset.points];
    this.plot = block.querySelector(".plot");
    this.form = block.querySelector("form");
    this.thumb = block.querySelector(".thumb");
    this.words = block.querySelector("[aria-live]");
    this.form.addEventListener("change", () => this.render());
    block.querySelectorAll("button").forEach((button) => button.addEventListener("click", () => this.step(Number(button.dataset.step))));
    later(this.plot, (again) => this.render(again));
    if (!this.pair.sprite) this.thumb.remove();
  }

  rows() {
    const { method, shown } = Object.fromEntries(new FormData(this.form));
    const columns = Object.entries(this.pair.methods[method]);
    const all = columns[0][1].map((_, id) => ({ id, ...Object.fromEntries(columns.map(([name, values]) => [name, values[id]])) }));
    const kept = { both: () => true, wrong: (row) => row.domain === "target" && row.label !== row.prediction };
    return all.filter(kept[shown] || ((row) => row.domain === shown));
  }

  async render(again) {
    const colour = new FormData(this.form).get("colour");
    this.shown = this.rows();
    if (again || colour !== this.colour) {
      this.colour = colour;
      this.drawing?.abort();
      this.drawing = new AbortController();
      this.view = draw(this.plot, { ...specs[`tsne_${colour}`], datasets: { points: this.shown } }, 34).then((view) => {
        for (const event of ["pointermove", "click"]) this.plot.addEventListener(event, (at) => this.pickNearest(view, at), { signal: this.drawing.signal });
        return view;
      });
    }
    const view = await this.view;
    await view.data("points", this.shown).runAsync();
    this.plot.dataset.shown = this.shown.length;
    this.pick(this.shown.find((row) => row.image === this.picked?.image));
  }

  // The point nearest to the pointer, so that a mark need not be hit, which a finger could not.
  pickNearest(view, { clientX, clientY }) {
    const box = this.plot.querySelector("svg").getBoundingClientRect();
    const [left, top] = view.origin();
    const [x, y] = ["x", "y"].map((axis) => view.scale(axis));
    let nearest, least = 30;
    for (const row of this.shown) {
      const distance = Math.hypot(x(row.x) + left + box.left - clientX, y(row.y) + top + box.top - clientY);
      if (distance < least) [nearest, least] = [row, distance];
    }
    if (nearest) this.pick(nearest);
  }

  pick(row) {
    if (row && row === this.picked) return;
    this.picked = row;
    this.view.then((view) => view.signal("picked", row ? row.id : -1).runAsync());
    const sprite = this.pair.sprite;
    if (sprite) {
      const [column, line] = row ? [row.image % sprite.columns, Math.floor(row.image / sprite.columns)] : [0, 0];
      const size = 140;
      this.thumb.style.backgroundImage = row ? `url(${sprite.src})` : "none";
      this.thumb.style.backgroundSize = `${sprite.columns * size}px ${sprite.rows * size}px`;
      this.thumb.style.backgroundPosition = `${-column * size}px ${-line * size}px`;
    }
    const verdict = row && (row.label === row.prediction ? "right" : "wrong");
    this.words.textContent = row ? `${row.domain} image of a ${row.label}, predicted ${row.prediction}: ${verdict}.` : "No image chosen.";
  }

  step(by) {
    if (!this.shown?.length) return;
    const at = this.shown.indexOf(this.picked);
    this.pick(this.shown[(at < 0 ? (by > 0 ? 0 : -1) : at + by + this.shown.length) % this.shown.length] || this.shown.at(-1));
  }
}
document.querySelectorAll("[data-points]").forEach((block) => new Points(block));
document.body.classList.add("scripted");
