// Any two variants side by side: which ones stands in the address, and all numbers in the page.
const DATA = await unpacked("data");
const form = document.querySelector(".filter");
const place = document.getElementById("pair");
const NAMES = DATA.variants.map(([name]) => name);
const titleOf = (v) => DATA.variants[v][1];
const SVG = "http://www.w3.org/2000/svg";
const TRACK = [168, 22];

const make = (tag, about = {}, ...children) => {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(about)) {
    if (name === "text") node.textContent = value;
    else if (value !== null) node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
};
const draw = (tag, about, ...children) => {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(about)) node.setAttribute(name, value);
  node.append(...children);
  return node;
};
const known = (x) => x !== null && x !== undefined;
const plain = (x) => (known(x) ? x.toFixed(2).replace(/^0/, "") : "–");
const signed = (x) => {
  if (!known(x)) return "–";
  const size = plain(Math.abs(x));
  return (size === ".00" ? "±" : x > 0 ? "+" : "−") + size;
};
const interval = (low, high) => (known(low) && known(high) ? `[${signed(low)}, ${signed(high)}]` : "–");
const chance = (p) => (!known(p) ? "–" : p < 0.001 ? "< .001" : p.toFixed(3).replace(/^0/, ""));
const minus = (x) => (known(x) ? -x || 0 : null);

// The pair as it is asked for: what is stored is the later variant of the report's order against the earlier one.
const pairOf = (a, b) => {
  const stored = DATA.pairs[`${Math.min(a, b)} ${Math.max(a, b)}`];
  if (!stored || a < b) return stored ? {...stored, words: stored.said[0], recipe: stored.recipes[0]} : null;
  const turned = {0: 1, 1: 0};
  return {
    ...stored,
    before: stored.before.map((x, k) => (known(x) && known(stored.delta[k]) ? x + stored.delta[k] : null)),
    delta: stored.delta.map(minus), low: stored.high.map(minus), high: stored.low.map(minus),
    corrected: stored.corrected.map((ends) => ends && ends.map(minus).toReversed()),
    verdict: stored.verdict.map((word) => turned[word] ?? word),
    macro: [known(stored.macro[0]) && known(stored.macro[1]) ? stored.macro[0] + stored.macro[1] : null, minus(stored.macro[1]), stored.macro[2]],
    trainings: stored.trainings.toReversed(), words: stored.said[1], recipe: stored.recipes[1],
  };
};

const track = (delta, low, high, corrected, luck, kind, span, words) => {
  const [width, height] = TRACK, middle = height / 2;
  const x = (value) => 9 + (Math.min(Math.max(value, -span), span) + span) / (2 * span) * (width - 18);
  const line = (from, to, name) => draw("line", {x1: x(from), x2: x(to), y1: middle, y2: middle, class: name});
  const band = luck ? [draw("rect", {x: x(-luck), y: 1, width: Math.max(x(luck) - x(-luck), 1), height: height - 2, class: "luck"})] : [];
  const parts = [draw("title", {}), ...band, line(-span, span, "axis"), draw("line", {x1: x(0), x2: x(0), y1: 2, y2: height - 2, class: "reference"})];
  parts[0].textContent = words;
  if (corrected) parts.push(line(...corrected, `corrected ${kind}`));
  if (known(low) && known(high)) parts.push(line(low, high, `whisker ${kind}`));
  const tips = {up: [-6, 5], down: [6, -5]}[kind];
  if (known(delta) && tips) parts.push(draw("polygon", {points: `${x(delta)},${middle + tips[0]} ${x(delta) - 6},${middle + tips[1]} ${x(delta) + 6},${middle + tips[1]}`, class: `dot ${kind}`}));
  else if (known(delta)) parts.push(draw("circle", {cx: x(delta), cy: middle, r: 4.5, class: `dot ${kind}`}));
  return draw("svg", {viewBox: `0 0 ${width} ${height}`, width, height, class: "track", role: "img"}, ...parts);
};

const scale = (span) => {
  const size = String(span).replace(/^0/, "");
  const ticks = [[1, "start", `−${size}`], [TRACK[0] / 2, "middle", "0"], [TRACK[0] - 1, "end", `+${size}`]];
  const texts = ticks.map(([x, anchor, words]) => draw("text", {x, y: 13, "text-anchor": anchor}, words));
  return draw("svg", {viewBox: `0 0 ${TRACK[0]} 18`, width: TRACK[0], height: 18, class: "track", role: "img", "aria-label": `scale from ${signed(-span)} to ${signed(span)}`}, ...texts);
};

const table = (label, caption, head, rows) => make("div", {class: "scroll", tabindex: 0, role: "region", "aria-label": label}, make("table", {},
  make("caption", {text: caption}), make("thead", {}, make("tr", {}, ...head.map(([text, side]) => make("th", {scope: "col", class: side ?? null}, text)))), make("tbody", {}, ...rows)));

const frames = (a, b, k, flip) => "images.html#" + new URLSearchParams({...(k === null ? {} : {class: DATA.classes[k][0]}), variant: NAMES[b], against: NAMES[a], flip}).toString().replaceAll("+", "%20");

const said = (pair, k) => `difference ${signed(pair.delta[k])} ${interval(pair.low[k], pair.high[k])}` + (pair.corrected[k] ? `, corrected ${interval(...pair.corrected[k])}` : "");

const spanOf = (pair) => {
  const ends = [...pair.low, ...pair.high, ...pair.delta].filter(known).map(Math.abs);
  return [0.1, 0.25, 0.5, 1].find((limit) => Math.max(0, ...ends) <= limit) ?? 1;
};

const classRows = (pair, a, b) => {
  const span = spanOf(pair);
  return DATA.classes.map(([, label], k) => {
    const [word, mark, kind] = DATA.verdicts[pair.verdict[k]];
    const after = known(pair.before[k]) && known(pair.delta[k]) ? pair.before[k] + pair.delta[k] : null;
    return make("tr", {}, make("th", {scope: "row"}, make("a", {href: `classes/${encodeURIComponent(DATA.classes[k][0])}.html`, text: label})),
      make("td", {text: pair.n[k].toLocaleString("en")}), make("td", {text: plain(pair.before[k])}), make("td", {text: plain(after)}),
      make("td", {}, make("a", {class: "leading", href: frames(a, b, k, "both")}, track(pair.delta[k], pair.low[k], pair.high[k], pair.corrected[k], pair.luck[k], kind, span, said(pair, k)))),
      make("td", {class: kind, text: signed(pair.delta[k])}), make("td", {class: "interval", text: interval(pair.low[k], pair.high[k])}),
      make("td", {text: chance(pair.p[k])}), make("td", {class: "left"}, make("span", {class: kind, text: `${mark} ${word}`})),
      make("td", {class: "left"}, make("a", {href: frames(a, b, k, "gained"), text: "gained"}), " ", make("a", {href: frames(a, b, k, "lost"), text: "lost"})));
  });
};

const driverRows = (a, b) => DATA.drivers.flatMap((driver, d) => {
  const deltas = DATA.classes.map((_, k) => {
    const [was, is] = [DATA.recalls[a][d][k], DATA.recalls[b][d][k]];
    return known(was) && known(is) ? is - was : null;
  });
  const given = deltas.filter(known);
  if (!given.length) return [];
  const cells = deltas.map((delta, k) => {
    const here = frames(a, b, k, "both") + `&driver=${encodeURIComponent(driver)}`;
    return make("td", {}, known(delta) ? make("a", {href: here, text: signed(delta)}) : "–");
  });
  return [make("tr", {}, make("th", {scope: "row", text: driver}), ...cells, make("td", {text: signed(given.reduce((x, y) => x + y) / given.length)}))];
});

const read = () => {
  const asked = new URLSearchParams(location.hash.slice(1));
  return ["a", "b"].map((side, at) => {
    const found = NAMES.indexOf(asked.get(side) ?? "");
    return found >= 0 ? found : Math.min(at, NAMES.length - 1);
  });
};

const show = () => {
  const [a, b] = read();
  [form.elements.a.value, form.elements.b.value] = [NAMES[a], NAMES[b]];
  const pair = pairOf(a, b);
  if (!pair) {
    const why = a === b ? "A and B are the same variant." : "This pair is not in the report.";
    place.replaceChildren(make("p", {text: `${why} Type: distracted compare ${NAMES[a]} ${NAMES[b]}`}));
    return;
  }
  const [before, change, p] = pair.macro;
  place.replaceChildren(
    make("p", {class: "lede"}, make("strong", {text: titleOf(b)}), ` against ${titleOf(a)}: `, make("strong", {text: pair.words}), "."),
    make("p", {text: `Macro recall ${plain(before)} → ${plain(known(before) && known(change) ? before + change : null)} (${signed(change)}, p ${chance(p)}) on ${pair.macro_drivers} drivers; trainings of each fold: ${pair.trainings.join(" and ")}; ${pair.recipe}.`}),
    table("Differences by class", "Recall of each class; Δ is B − A. The thick whisker is the 95% t interval of one class alone (– where nothing varied, and with one training only). The thin one is corrected over these classes: it leaves out 0 exactly where a class is decided. The grey band is what training both once more moves (± one standard deviation). Undetermined: these drivers and trainings cannot tell, not that nothing changed. Figures lead to the images that B gained or lost.",
      [["Class", "left"], ["n"], ["A"], ["B"], [scale(spanOf(pair)), "left"], ["Δ"], ["95% interval"], ["p (Holm)"], ["Verdict", "left"], ["Images", "left"]], classRows(pair, a, b)),
    make("details", {}, make("summary", {text: "Driver by driver"}), table("Differences by driver", `Recall of ${titleOf(b)} minus recall of ${titleOf(a)}. Differences between drivers are not tested: drivers of one fold share a training, and one that went better looks like a variant that suits them.`,
      [["Driver", "left"], ...DATA.classes.map(([id]) => [id]), ["mean"]], driverRows(a, b))));
  offerDownloads(place);
};

for (const side of ["a", "b"]) form.elements[side].append(...DATA.variants.map(([value, text]) => make("option", {value, text})));
const go = (a, b) => { location.hash = "#" + new URLSearchParams({a, b}).toString().replaceAll("+", "%20"); };
form.hidden = false;
form.addEventListener("change", () => go(form.elements.a.value, form.elements.b.value));
form.addEventListener("submit", (event) => event.preventDefault());
document.getElementById("swap").addEventListener("click", () => go(form.elements.b.value, form.elements.a.value));
addEventListener("hashchange", show);
addEventListener("pageshow", show);
show();
