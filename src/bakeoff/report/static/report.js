"use strict";
(() => {
  const root = document.documentElement;
  const all = (selector, from = document) => [...from.querySelectorAll(selector)];
  const one = (selector, from = document) => from.querySelector(selector);

  /* Language: one page, both texts inside; plain-text places are filled from data-zh and data-en. */
  function speak(language) {
    root.lang = language === "zh" ? "zh-CN" : "en";
    for (const node of all("[data-zh]")) node.textContent = node.dataset[language];
    for (const node of all("[data-aria-zh]")) node.setAttribute("aria-label", node.getAttribute(`data-aria-${language}`));
    for (const button of all("[data-language]")) button.setAttribute("aria-pressed", String(button.dataset.language === language));
    hide();
  }
  const asked = () => { const found = /^#(zh|en)$/.exec(location.hash); if (found) speak(found[1]); return Boolean(found); };
  for (const button of all("[data-language]")) {
    button.addEventListener("click", () => { speak(button.dataset.language); history.replaceState(null, "", `#${button.dataset.language}`); });
  }
  addEventListener("hashchange", asked);

  /* Tooltips of the plot. */
  const tip = one("#tip");
  const plot = one("#plot");
  let shown = null;
  const same = (id) => (node) => node.dataset.id === id;
  function light(id) { for (const node of all(".pt, .names li")) node.classList.toggle("lit", id !== null && node.dataset.id === id); }
  function hide() { if (tip) tip.hidden = true; shown = null; light(null); }
  function show(point) {
    const source = all("template[data-tip]").find((node) => node.dataset.tip === point.dataset.id);
    if (!source) return;
    tip.replaceChildren(source.content.cloneNode(true));
    shown = point;
    light(point.dataset.id);
    place();
  }
  function place() {
    tip.hidden = false;
    const dot = one(".dot", shown).getBoundingClientRect();
    const box = tip.getBoundingClientRect();
    const left = Math.min(Math.max(dot.left + dot.width / 2 - box.width / 2, 8), root.clientWidth - box.width - 8);
    const above = dot.top - box.height - 12;
    tip.style.left = `${left}px`;
    tip.style.top = `${above > 60 ? above : dot.bottom + 12}px`;
    tip.hidden = dot.bottom < 0 || dot.top > innerHeight;
  }

  /* The plot: positions come from the page, in per cent; the script only moves things there. */
  function draw(data, x, y) {
    const at = (axis, id) => (data.spots[id] || {})[axis];
    for (const point of all(".pt", plot)) {
      const [a, b] = [at(x, point.dataset.id), at(y, point.dataset.id)];
      point.style.display = a && b ? "" : "none";
      point.removeAttribute("display");
      if (!a || !b) continue;
      const put = (node, values) => { for (const [key, value] of Object.entries(values)) node.setAttribute(key, `${value}%`); };
      put(one(".ex", point), { x1: a[1], x2: a[2], y1: 100 - b[0], y2: 100 - b[0] });
      put(one(".ey", point), { x1: a[0], x2: a[0], y1: 100 - b[1], y2: 100 - b[2] });
      put(one(".at", point), { x: a[0], y: 100 - b[0] });
      point.classList.toggle("off", a[3] || b[3]);
    }
    const corners = data.fronts[`${x}|${y}`] || [];
    let path = corners.length ? `M${corners[0][0]} ${100 - corners[0][1]}` : "";
    corners.slice(1).forEach(([px, py], i) => { path += `L${px} ${100 - corners[i][1]}L${px} ${100 - py}`; });
    one(".front", plot).setAttribute("d", path);
    for (const name of ["grid", "limits"]) {
      const old = one(`.${name}`, plot);
      old.replaceChildren(...all(`[data-axes~="x:${x}"], [data-axes~="y:${y}"]`, one(`#${name}-store`).content).map((node) => node.cloneNode(true)));
    }
    for (const title of all("[data-title]")) {
      const [slot, name] = title.dataset.title.split(":");
      title.hidden = name !== (slot === "x" ? x : y);
    }
  }
  if (plot) {
    const data = JSON.parse(one("#plot-data").textContent);
    const axes = { x: one('[data-axis="x"]'), y: one('[data-axis="y"]') };
    for (const slot of ["x", "y"]) {
      let before = axes[slot].value;
      axes[slot].addEventListener("change", () => {
        const other = axes[slot === "x" ? "y" : "x"];
        if (other.value === axes[slot].value) other.value = before;
        for (const name of ["x", "y"]) axes[name].dispatchEvent(new Event("settled"));
        hide();
        draw(data, axes.x.value, axes.y.value);
      });
      axes[slot].addEventListener("settled", () => { before = axes[slot].value; });
    }
    const points = () => all(".pt", plot).filter((node) => node.style.display !== "none" && node.getAttribute("display") !== "none");
    const focus = (point) => { for (const node of all(".pt", plot)) node.tabIndex = node === point ? 0 : -1; point.focus(); };
    for (const point of all(".pt", plot)) {
      point.addEventListener("pointerenter", (event) => { if (event.pointerType !== "touch") show(point); });
      point.addEventListener("pointerleave", (event) => { if (event.pointerType !== "touch" && document.activeElement !== point) hide(); });
      point.addEventListener("focus", () => show(point));
      point.addEventListener("blur", hide);
      point.addEventListener("click", () => { focus(point); show(point); });
    }
    plot.addEventListener("keydown", (event) => {
      if (event.key === "Escape") return hide();
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (event.key === "Enter" && shown) return reveal(shown.dataset.id);
      if (!step) return undefined;
      event.preventDefault();
      const line = points().sort((a, b) => parseFloat(one(".at", a).getAttribute("x")) - parseFloat(one(".at", b).getAttribute("x")));
      const here = line.indexOf(document.activeElement.closest(".pt"));
      return focus(line[(here + step + line.length) % line.length]);
    });
    for (const name of all(".names li[data-id]")) {
      name.addEventListener("pointerenter", () => light(name.dataset.id));
      name.addEventListener("pointerleave", () => light(shown && shown.dataset.id));
      name.addEventListener("click", () => reveal(name.dataset.id));
    }
    document.addEventListener("click", (event) => { if (!event.target.closest(".pt, .runner")) hide(); });
    for (const kind of ["scroll", "resize"]) addEventListener(kind, () => { if (shown) place(); }, { passive: true });
  }

  /* The race: a line of the chart and its lines in the lists light up together; the tooltip repeats what the lists say. */
  const racers = all("[data-race]");
  const race = (arm) => { for (const node of racers) node.classList.toggle("lit", arm !== null && node.dataset.race === arm); };
  function tell(event, arm) {
    const said = racers.filter((node) => node.tagName === "LI" && node.dataset.race === arm);
    const source = said.find((node) => node.closest(".names")) || said.at(-1);
    if (!source) return;
    tip.replaceChildren(...[...source.cloneNode(true).childNodes]);
    tip.hidden = false;
    const box = tip.getBoundingClientRect();
    tip.style.left = `${Math.min(Math.max(event.clientX - box.width / 2, 8), root.clientWidth - box.width - 8)}px`;
    tip.style.top = `${event.clientY - box.height - 16 > 60 ? event.clientY - box.height - 16 : event.clientY + 18}px`;
  }
  for (const node of racers) {
    const inside = node.closest("#race-plot") !== null;
    node.addEventListener("pointerenter", (event) => { race(node.dataset.race); if (inside) tell(event, node.dataset.race); });
    node.addEventListener("pointerleave", (event) => { if (event.pointerType === "touch") return; race(null); if (inside) hide(); });
  }
  addEventListener("scroll", () => { if (!shown) hide(); }, { passive: true });

  /* The leaderboard: fold, sort, jump to a row. */
  const board = one(".board");
  const bodies = board ? all("tbody.row", board) : [];
  function fold(body, open) {
    one(".detail", body).hidden = !open;
    one(".more", body).setAttribute("aria-expanded", String(open));
  }
  function reveal(id) {
    const body = bodies.find(same(id));
    if (!body) return;
    hide();
    fold(body, true);
    body.scrollIntoView({ block: "center" });
  }
  function sort(key, down) {
    const value = (body) => { const found = JSON.parse(body.dataset.keys)[key]; return found === undefined ? null : found; };
    const order = [...bodies].sort((a, b) => {
      const [left, right] = [value(a), value(b)];
      if (left === null || right === null) return (left === null) - (right === null);
      return (left - right) * (down ? -1 : 1);
    });
    board.append(...order);
    for (const button of all("[data-sort]", board)) {
      const head = button.closest("th");
      if (button.dataset.sort === key) head.setAttribute("aria-sort", down ? "descending" : "ascending"); else head.removeAttribute("aria-sort");
    }
    one("[data-sort-select]").value = key;
  }
  for (const body of bodies) {
    fold(body, false);
    one(".more", body).addEventListener("click", () => fold(body, one(".detail", body).hidden));
  }
  if (board) {
    for (const button of all("[data-sort]", board)) {
      button.addEventListener("click", () => {
        const now = button.closest("th").getAttribute("aria-sort");
        const first = "down" in button.dataset;
        sort(button.dataset.sort, now === null ? first : now === "ascending");
      });
    }
    one("[data-sort-select]").addEventListener("change", (event) => {
      const button = all("[data-sort]", board).find((node) => node.dataset.sort === event.target.value);
      sort(event.target.value, "down" in button.dataset);
    });
    one("[data-open-all]").addEventListener("click", () => { const open = bodies.some((body) => one(".detail", body).hidden); for (const body of bodies) fold(body, open); });
  }
  addEventListener("beforeprint", () => { for (const body of bodies) fold(body, true); for (const node of all("details")) node.open = true; });

  if (!asked()) speak(root.lang.startsWith("zh") ? "zh" : "en");
})();
