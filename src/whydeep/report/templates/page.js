"use strict";
// Pointing at a figure, or the arrow keys, show the values of its curves; a button below it hides and shows a curve.
for (const figure of document.querySelectorAll("figure[id]")) {
  const data = figure.querySelector("script.curves");
  if (!data) continue;
  const svg = figure.querySelector("svg");
  const part = (id) => document.getElementById(`${figure.id}.${id}`);
  const known = JSON.parse(data.textContent);
  const panels = known.panels;
  const hidden = new Set();

  // -- a button for each curve --------------------------------------------------------------------------------
  const series = new Map();
  for (const panel of panels)
    for (const one of panel.series) {
      if (!series.has(one.label)) series.set(one.label, { colours: new Set(), parts: [] });
      series.get(one.label).colours.add(one.colour);
      series.get(one.label).parts.push(...one.parts.map(part).filter(Boolean));
    }
  const legend = figure.querySelector(".legend");
  for (const [label, one] of series) {
    const button = document.createElement("button");
    button.type = "button";
    button.setAttribute("aria-pressed", "true");
    const swatch = document.createElement("span");
    swatch.className = "swatch";
    const stripes = [...one.colours].map((colour, place, { length }) => `${colour} ${(100 * place) / length}% ${(100 * (place + 1)) / length}%`);
    swatch.style.background = `linear-gradient(90deg, ${stripes})`;
    button.append(swatch, label);
    const toggle = () => {
      const shown = hidden.has(label);
      shown ? hidden.delete(label) : hidden.add(label);
      button.setAttribute("aria-pressed", String(shown));
      for (const element of one.parts) element.style.display = shown ? "" : "none";
      leave();
    };
    button.addEventListener("click", toggle);
    legend.append(button);
    // The entries of the drawn legend can be clicked as well.
    for (const entry of known.legend.filter((one) => one.label === label).map((one) => part(one.id)).filter(Boolean)) {
      entry.classList.add("entry");
      entry.addEventListener("click", toggle);
    }
  }
  legend.hidden = series.size === 0;

  // -- values under the pointer ---------------------------------------------------------------------------------
  const card = figure.querySelector(".card");
  const tip = document.createElement("div");
  tip.className = "tip";
  tip.hidden = true;
  tip.setAttribute("aria-live", "polite");
  const mark = document.createElement("div");
  mark.className = "mark";
  mark.hidden = true;
  card.append(tip, mark);

  const forward = (axis, value) => (axis.scale === "log" ? Math.log10(value) : value);
  const share = (axis, value) => {
    const [low, high] = axis.limits.map((limit) => forward(axis, limit));
    return (forward(axis, value) - low) / (high - low);
  };
  const written = (value, axis) => {
    if (value === null || value === undefined) return "?";
    if (axis && axis.percent) return `${(100 * value).toLocaleString("en", { maximumSignificantDigits: 4 })} %`;
    const size = Math.abs(value);
    if (size !== 0 && (size < 1e-3 || size >= 1e6)) return value.toExponential(2);
    return value.toLocaleString("en", { maximumSignificantDigits: 4 });
  };

  const leave = () => {
    tip.hidden = true;
    mark.hidden = true;
  };
  const boxOf = (panel) => part(panel.id)?.getBoundingClientRect();
  const holds = (box, x, y) => box && x >= box.left && x <= box.right && y >= box.top && y <= box.bottom;
  const placeIn = (panel, box) => (one, index) => [
    box.left + share(panel.x, one.x[index]) * box.width,
    box.bottom - share(panel.y, one.y[index]) * box.height,
  ];
  const visible = (one) => !hidden.has(one.label) && !one.quiet;
  // Show the values near a place on the screen; `chosen`, a curve, is the one that is marked, whichever lies nearest.
  const point = ({ clientX, clientY }, chosen = null) => {
    const panel = panels.find((one) => holds(boxOf(one), clientX, clientY));
    if (!panel) return leave();
    const place = placeIn(panel, boxOf(panel));
    // The nearest point of each curve: along x for lines, in the plane for dots.
    let best = null;
    const rows = [];
    for (const one of panel.series) {
      if (!visible(one)) continue;
      let nearest = -1, least = Infinity, at = null;
      for (let index = 0; index < one.x.length; index++) {
        const [x, y] = place(one, index);
        const far = one.dots || one === chosen ? Math.hypot(x - clientX, y - clientY) : Math.abs(x - clientX);
        if (far < least) [nearest, least, at] = [index, far, [x, y]];
      }
      if (nearest < 0 || (one.dots && least > 12)) continue;
      rows.push([one, nearest]);
      const far = one === chosen ? -1 : Math.hypot(at[0] - clientX, at[1] - clientY);
      if (!best || far < best.far) best = { far, at, one, nearest };
    }
    if (!best) return leave();
    tip.replaceChildren();
    const head = document.createElement("div");
    head.textContent = `${panel.x.label || "x"}: ${written(best.one.x[best.nearest])}`;
    tip.append(head);
    for (const [one, index] of rows) {
      const row = document.createElement("div");
      const swatch = document.createElement("span");
      swatch.className = "swatch";
      swatch.style.background = one.colour;
      const ends = [one.low, one.high].map((values) => values && written(values[index], panel.y));
      const interval = one.low && one.low[index] !== null ? ` [${ends.join(", ")}]` : "";
      const text = document.createElement(one === best.one ? "strong" : "span");
      const more = Object.entries(one.more || {}).map(([name, values]) => `, ${name} ${written(values[index])}`).join("");
      text.textContent = `${one.label}: ${written(one.y[index], panel.y)}${interval}${more}`;
      row.append(swatch, text);
      tip.append(row);
    }
    tip.hidden = false;
    mark.hidden = false;
    const frame = card.getBoundingClientRect();
    mark.style.left = `${best.at[0] - frame.left}px`;
    mark.style.top = `${best.at[1] - frame.top}px`;
    const left = clientX - frame.left, top = clientY - frame.top;
    const across = left > frame.width / 2 ? left - tip.offsetWidth - 14 : left + 14;
    tip.style.left = `${Math.max(0, Math.min(frame.width - tip.offsetWidth, across))}px`;
    tip.style.top = `${Math.max(0, top - tip.offsetHeight - 10)}px`;
  };
  svg.addEventListener("pointermove", (event) => point(event));
  svg.addEventListener("pointerdown", (event) => point(event));
  // A finger that is lifted leaves too, and its tip stays until another place is touched.
  svg.addEventListener("pointerleave", (event) => event.pointerType !== "touch" && leave());
  document.addEventListener("pointerdown", (event) => svg.contains(event.target) || leave());

  // -- the same by keyboard: along a curve with left and right, to the next one with up and down ------------------
  card.tabIndex = 0;
  card.setAttribute("role", "group");
  card.setAttribute("aria-label", `Values of ${figure.querySelector("figcaption strong").textContent} with the arrow keys`);
  let current = null, reached = -1;
  const steps = { ArrowLeft: -1, ArrowRight: 1 }, turns = { ArrowUp: -1, ArrowDown: 1 };
  card.addEventListener("keydown", (event) => {
    if (event.key === "Escape") return leave();
    if (!(event.key in steps || event.key in turns) || event.ctrlKey || event.altKey || event.metaKey) return;
    // What can be reached: the points of each curve that can be seen, at most 50 of them.
    const routes = panels.flatMap((panel) => {
      const box = boxOf(panel);
      if (!box) return [];
      const place = placeIn(panel, box);
      return panel.series.filter(visible).map((one) => {
        const inside = one.x.map((_, index) => place(one, index)).filter(([x, y]) => holds(box, x, y));
        const stride = Math.ceil(inside.length / 50);
        return { one, places: inside.filter((_, index) => index % stride === 0 || index === inside.length - 1) };
      });
    }).filter((route) => route.places.length);
    if (!routes.length) return;
    event.preventDefault();
    const before = routes.findIndex((route) => route.one === current);
    const turned = before < 0 ? 0 : (before + (turns[event.key] || 0) + routes.length) % routes.length;
    const { one, places } = routes[turned];
    reached = Math.max(0, Math.min(places.length - 1, reached + (steps[event.key] || 0)));
    current = one;
    const [clientX, clientY] = places[reached];
    point({ clientX, clientY }, one);
  });
  card.addEventListener("blur", leave);
}
