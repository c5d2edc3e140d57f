// One image: what every variant says of it, and where each of two looked; then the page as a whole.
const stage = document.getElementById("view");
const CELLS = [80, 60];

const mapOf = (v, i, target, branch = "") => {
  // What variant v has of image i: its map, "zero", or nothing. A right answer's map is that of the true class too.
  const cams = v < 0 ? null : DATA.cams[v];
  if (!cams || !SHOWN.has(i) || !cams[`${branch}size`]) return null;
  const place = SHOWN.get(i);
  cams.at ??= new Map(cams.rows.map((row, at) => [row, at]));
  const at = cams.at.get(2 * place + (target === "true" && !right(v, i) ? 1 : 0));
  if (at === undefined) return null;
  const [height, width] = cams[`${branch}size`], cells = height * width;
  const values = Array.from(cams[`${branch}maps`].slice(at * cells, (at + 1) * cells), (digit) => parseInt(digit, 16) / 15);
  return values.some(Boolean) ? {height, width, values} : "zero";
};

const resized = ({height, width, values}) => {
  const [across, down] = CELLS, result = new Float32Array(across * down);
  const at = (pixel, pixels, cells) => {
    const place = Math.min(Math.max((pixel + 0.5) * cells / pixels - 0.5, 0), cells - 1), low = Math.floor(place);
    return [low, Math.min(low + 1, cells - 1), place - low];
  };
  for (let y = 0; y < down; y++) {
    const [top, bottom, v] = at(y, down, height);
    for (let x = 0; x < across; x++) {
      const [left, rightward, u] = at(x, across, width);
      const row = (r) => values[r * width + left] * (1 - u) + values[r * width + rightward] * u;
      result[y * across + x] = row(top) * (1 - v) + row(bottom) * v;
    }
  }
  return result;
};

const painted = (values, colour, words) => {
  const canvas = make("canvas", {width: CELLS[0], height: CELLS[1], role: "img", "aria-label": words});
  const context = canvas.getContext("2d"), pixels = context.createImageData(...CELLS);
  values.forEach((value, i) => pixels.data.set(colour(value), 4 * i));
  context.putImageData(pixels, 0, 0);
  return canvas;
};

const heatColour = (strength) => {
  const place = strength * (DATA.heat.length - 1), low = Math.min(Math.floor(place), DATA.heat.length - 2);
  const mix = DATA.heat[low].map((part, c) => part + (DATA.heat[low + 1][c] - part) * (place - low));
  return [...mix, 255 * (0.25 + 0.5 * strength)];
};

const over = (i, canvas, ground = framePlace(i)) => make("div", {class: "over"}, make("img", {src: ground, alt: ""}), canvas);
const nothing = (words) => make("span", {class: "nothing", text: words});

const camOf = (v, i, target, branch = "") => {
  const map = mapOf(v, i, target, branch);
  if (map === null) return nothing(SHOWN.has(i) ? "Grad-CAM not computed" : "no picture kept");
  if (map === "zero") return nothing("all zero: nothing speaks for the class");
  const of = target === "true" ? DATA.true[i] : answer(v, i);
  const words = `Grad-CAM of ${titleOf(v)} for ${className(of)}${branch ? ", from the masks" : ""}`;
  return over(i, painted(resized(map), heatColour, words), branch && DATA.masked[SHOWN.get(i)] ? maskPlace(i) : framePlace(i));
};

const changeOf = (before, after, i) => {
  const maps = [before, after].map((v) => mapOf(v, i, "true"));
  if (maps.some((map) => map === null || map === "zero")) return null;
  const [was, is] = maps.map(resized), total = (values) => values.reduce((a, b) => a + b);
  const a = total(is), b = total(was), change = is.map((value, at) => value / a - was[at] / b);
  const largest = change.reduce((most, value) => Math.max(most, Math.abs(value)), 1e-9);
  const words = `Where ${titleOf(after)} sees more evidence for the true class than ${titleOf(before)} does (blue), and where less (orange)`;
  return over(i, painted(change, (d) => [...(d > 0 ? [20, 110, 200] : [240, 120, 10]), 217 * Math.abs(d) / largest], words));
};

const figure = (content, words) => make("figure", {}, content, make("figcaption", {text: words}));

// Two Grad-CAMs of the true class on top of each other, and what moves the border between them.
const wipe = (before, after, i) => {
  if ([before, after].some((v) => typeof mapOf(v, i, "true") !== "object" || mapOf(v, i, "true") === null)) return null;
  const under = camOf(before, i, "true"), upper = camOf(after, i, "true");
  upper.classList.add("upper");
  const slider = make("input", {type: "range", min: 0, max: 100, value: 50, "aria-label": `Share of the picture that is ${titleOf(after)}`});
  const move = () => { upper.style.clipPath = `inset(0 0 0 ${100 - slider.value}%)`; };
  slider.addEventListener("input", move);
  move();
  const set = (value, v) => {
    const button = make("button", {type: "button", text: titleOf(v)});
    button.addEventListener("click", () => { slider.value = value; move(); });
    return button;
  };
  return make("figure", {class: "wipe"}, make("div", {class: "stack"}, under, upper),
    make("div", {class: "wiper"}, set(0, before), slider, set(100, after)),
    make("figcaption", {text: `Grad-CAM for the true class: left ${titleOf(before)}, right ${titleOf(after)}`}));
};

const said = (v, i) => (answer(v, i) < 0 ? "no prediction" : `${right(v, i) ? "right" : "wrong"}: ${className(answer(v, i))}, ${share(sure(v, i))}`);

const side = (v, i, role) => make("section", {class: "side"},
  make("h3", {}, `${titleOf(v)} `, make("span", {class: "quiet", text: role})),
  make("p", {class: right(v, i) ? "verdict right" : "verdict wrong", text: said(v, i)}),
  figure(camOf(v, i, "true"), `for the true class, ${className(DATA.true[i])}`),
  answer(v, i) >= 0 && !right(v, i) ? figure(camOf(v, i, "predicted"), `for its answer, ${className(answer(v, i))}`) : null,
  DATA.cams[v]?.masks_size ? figure(camOf(v, i, "true", "masks_"), "for the true class, from the masks") : null);

const numbers = (i) => {
  const place = SHOWN.get(i), k = CLASSES.length, each = SHOWN.size * k;
  const known = (v) => (place === undefined ? null : Array.from(DATA.p.slice(v * each + place * k, v * each + (place + 1) * k), (p) => (p === NOTHING ? NaN : p / 100)));
  const head = make("tr", {}, ...["Variant", "Answer", "Loss"].map((text, at) => make("th", {scope: "col", class: at < 2 ? "left" : null, text})),
    ...(place === undefined ? [] : DATA.classes.map(([id, name], at) => make("th", {scope: "col", class: at === DATA.true[i] ? "true" : null, title: name, text: id}))));
  const rows = VARIANTS.map((_, v) => make("tr", {class: v === DATA.baseline ? "baseline" : null}, make("th", {scope: "row", text: titleOf(v)}),
    make("td", {class: `left ${answer(v, i) < 0 ? "" : right(v, i) ? "up" : "down"}`, text: verdictOf(v, i)}), make("td", {text: Number.isFinite(loss(v, i)) ? loss(v, i).toFixed(2) : "–"}),
    ...(known(v) ?? []).map((p, at) => make("td", {class: [`t${Number.isFinite(p) ? Math.min(Math.floor(p * 5), 4) : 0}`, at === answer(v, i) ? "top" : "", at === DATA.true[i] ? "true" : ""].join(" ").trim(), text: share(p)}))));
  return make("div", {class: "scroll", tabindex: 0, role: "region", "aria-label": "Probabilities by variant and class"}, make("table", {},
    make("caption", {text: "What each variant makes of this image, by the mean of its trainings' probabilities; bold is its answer, ruled is the true class. ✓ right, ✗ wrong."}),
    make("thead", {}, head), make("tbody", {}, ...rows)));
};

const others = (i) => {
  const explained = VARIANTS.map((_, v) => v).filter((v) => mapOf(v, i, "true") !== null || mapOf(v, i, "predicted") !== null);
  if (!explained.length) return null;
  return make("details", {}, make("summary", {text: `Grad-CAMs of all ${explained.length} variants that explained this image`}),
    make("ul", {class: "cards"}, ...explained.map((v) => make("li", {}, figure(camOf(v, i, "true"), `${titleOf(v)} for the true class; its answer: ${verdictOf(v, i)}`)))));
};

const step = (view, by) => {
  const at = found.indexOf(BY_SLUG.get(view.img));
  return at < 0 || found[at + by] === undefined ? null : address({...view, img: slugOf(found[at + by])});
};

const turn = (view, at) => {
  const link = (by, words) => {
    const to = step(view, by);
    const anchor = make("a", {href: to ?? "#", text: words, class: to ? null : "off", "aria-disabled": to ? null : "true"});
    anchor.addEventListener("click", (event) => { event.preventDefault(); walk(by); });
    return anchor;
  };
  return make("nav", {class: "turn", "aria-label": "In this list"}, make("a", {href: address({...view, img: ""}), text: "↑ back to the list"}),
    link(-1, "← previous"), make("span", {class: "quiet", text: at < 0 ? "not in this list" : `${(at + 1).toLocaleString("en")} of ${found.length.toLocaleString("en")}`}), link(1, "next →"),
    make("span", {class: "quiet keys", text: "keys: ← → and Esc"}));
};

const pairOf = (view, i) => {
  // Without a variant in the address: the first that flips against its reference here, else the first with one.
  const {after, before} = sides(view);
  if (after >= 0) return {after, before};
  const compared = VARIANTS.map((_, v) => v).filter((v) => DATA.references[v] >= 0);
  const chosen = compared.find((v) => flipOf(i, DATA.references[v], v)) ?? compared[0] ?? 0;
  return {after: chosen, before: DATA.references[chosen] ?? -1};
};

const showImage = (view) => {
  const i = BY_SLUG.get(view.img);
  if (i === undefined) {
    stage.replaceChildren(turn(view, -1), make("p", {text: `This report knows no image ${view.img}.`}));
    return;
  }
  const {after, before} = pairOf(view, i), place = SHOWN.get(i);
  const k = DATA.true[i], seen = DATA.categories.filter((_, c) => shows(i, c));
  const flip = before >= 0 ? flipOf(i, before, after) : "";
  const heading = make("h2", {tabindex: -1, text: DATA.names[i]});
  const masks = !masked(i) ? "no mask cached" : seen.length ? `its masks show ${seen.join(", ")}` : "its masks show nothing";
  stage.replaceChildren(
    turn(view, found.indexOf(i)), heading,
    make("p", {class: "lede"}, `Driver ${DATA.drivers[DATA.driver[i]]}, `, make("a", {href: `classes/${encodeURIComponent(CLASSES[k])}.html`, text: className(k)}), `; ${masks}. `,
      flip ? make("strong", {text: flip === "gained" ? `Gained by ${titleOf(after)}.` : `Lost by ${titleOf(after)}.`}) : ""),
    make("div", {class: "pair"},
      figure(place === undefined ? nothing("This report keeps no picture of this image.") : make("img", {src: framePlace(i), alt: frameWords(i)}), "Frame"),
      figure(place !== undefined && DATA.masked[place] ? make("img", {src: maskPlace(i), alt: "The same frame with its masks coloured by category"}) : nothing("no mask cached"), "Masks by category"),
      before >= 0 ? wipe(before, after, i) ?? "" : ""),
    make("div", {class: "sides"}, before >= 0 ? side(before, i, DATA.references[after] === before ? "(reference)" : "") : "", side(after, i, ""),
      before >= 0 && changeOf(before, after, i) ? make("section", {class: "side"}, make("h3", {text: "Change"}), make("p", {class: "verdict quiet", text: "of the evidence for the true class"}),
        figure(changeOf(before, after, i), `blue: more in ${titleOf(after)}; orange: less`)) : ""),
    numbers(i), others(i) ?? "");
  offerDownloads(stage);
  heading.focus({preventScroll: true});
};

const walk = (by) => {
  const to = step(readView(), by);
  if (!to) return;
  history.replaceState(null, "", to);
  show();
};

const show = () => {
  const view = readView(), one = Boolean(view.img);
  if (one && stage.hidden) scrolled = scrollY;
  showControls(view);
  showList(view);
  const returned = !one && !stage.hidden;
  for (const node of [list.parentElement, document.querySelector(".about")]) node.hidden = one;
  form.classList.toggle("one", one);
  stage.hidden = !one;
  if (one) { showImage(view); scrollTo(0, 0); } else if (returned) scrollTo(0, scrolled);
  document.title = document.title.replace(/^[^·]*/, one ? `${view.img} ` : "Images ");
};

const go = (changes, keep = false) => {
  const to = address({...readView(), ...changes});
  if (keep) { history.replaceState(null, "", to); show(); } else location.hash = to;
};

form.hidden = false;
form.addEventListener("change", (event) => { if (event.target.name !== "word") go({[event.target.name]: event.target.value}); });
form.addEventListener("input", (event) => { if (event.target.name === "word") go({word: event.target.value, img: ""}, true); });
form.addEventListener("submit", (event) => event.preventDefault());
form.addEventListener("reset", (event) => { event.preventDefault(); location.hash = "#"; });
document.getElementById("take").addEventListener("click", () => downloadText(asTable(), "images.csv", "text/csv"));
more.addEventListener("click", () => draw(readView()));
addEventListener("hashchange", show);
addEventListener("pageshow", show);
show();
addEventListener("keydown", (event) => {
  if (event.altKey || event.ctrlKey || event.metaKey || event.target.matches("input, select, textarea")) return;
  if (event.key === "ArrowLeft" || event.key === "ArrowRight") {
    if (readView().img) { event.preventDefault(); walk(event.key === "ArrowLeft" ? -1 : 1); }
  } else if (event.key === "Escape" && readView().img) go({img: ""});
});
