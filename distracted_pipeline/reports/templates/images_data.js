// What is known of every image, and which images a view of the address has. Draws nothing.
const DATA = await unpacked("data");
const NOTHING = 255;
const wide = (text) => { const b = bytes(text); return Array.from({length: b.length / 2}, (_, i) => b[2 * i] + 256 * b[2 * i + 1]); };
for (const name of ["true", "p"]) DATA[name] = bytes(DATA[name]);
for (const name of ["answer", "sure", "loss"]) DATA[name] = DATA[name].map(bytes);
if (DATA.found) DATA.found = DATA.found.map(bytes);
DATA.driver = wide(DATA.driver);
const COUNT = DATA.names.length;
const SHOWN = new Map(DATA.shown.map((image, place) => [image, place]));
const CLASSES = DATA.classes.map(([id]) => id);
const VARIANTS = DATA.variants.map(([name]) => name);
const slugOf = (i) => DATA.slugs[i] ?? DATA.names[i];
const BY_SLUG = new Map(DATA.names.map((_, i) => [slugOf(i), i]));
const titleOf = (v) => DATA.variants[v][1];

// A view is what stands behind # in the address: empty parts are left out, so equal views have equal addresses.
const PARTS = ["class", "driver", "has", "lacks", "variant", "called", "answer", "against", "flip", "votes", "sort", "word", "img"];
const readView = () => {
  const known = new URLSearchParams(location.hash.slice(1));
  return Object.fromEntries(PARTS.map((part) => [part, known.get(part) ?? ""]));
};
const address = (view) => {
  const known = new URLSearchParams(PARTS.filter((part) => view[part]).map((part) => [part, view[part]]));
  return "#" + known.toString().replaceAll("+", "%20");
};

const answer = (v, i) => (v < 0 || DATA.answer[v][i] === NOTHING ? -1 : DATA.answer[v][i]);
const right = (v, i) => answer(v, i) === DATA.true[i];
const sure = (v, i) => (answer(v, i) < 0 ? NaN : DATA.sure[v][i] / 100);
const loss = (v, i) => (answer(v, i) < 0 ? NaN : DATA.loss[v][i] / DATA.lossSteps);
const answers = (i) => VARIANTS.map((_, v) => answer(v, i)).filter((k) => k >= 0);
const votes = (i) => {
  const given = answers(i), count = given.filter((k) => k === DATA.true[i]).length;
  return {given: given.length, right: count, kind: !given.length ? "" : count === given.length ? "all" : count ? "some" : "none"};
};
const disagreement = (i) => {
  const given = answers(i), counts = new Map();
  for (const k of given) counts.set(k, (counts.get(k) ?? 0) + 1);
  return given.length ? 1 - Math.max(...counts.values()) / given.length : 0;
};
const shows = (i, category) => Boolean(DATA.found?.[1 + category][i]);
const masked = (i) => Boolean(DATA.found?.[0][i]);

// Which variant a view compares with: the one it names, else the variant's reference.
const sides = (view) => {
  const after = VARIANTS.indexOf(view.variant);
  const named = VARIANTS.indexOf(view.against);
  return {after, before: named >= 0 ? named : after >= 0 ? DATA.references[after] : -1};
};

const flipOf = (i, before, after) => {
  if (answer(before, i) < 0 || answer(after, i) < 0 || right(before, i) === right(after, i)) return "";
  return right(after, i) ? "gained" : "lost";
};

const chosen = (view) => {
  const k = CLASSES.indexOf(view.class), driver = DATA.drivers.indexOf(view.driver), called = CLASSES.indexOf(view.called);
  const has = DATA.categories.indexOf(view.has), lacks = DATA.categories.indexOf(view.lacks);
  const {after, before} = sides(view), word = view.word.trim().toLowerCase();
  // What the address asks for and this report does not know has no image; it is not everything.
  const unknown = [["class", k], ["driver", driver], ["called", called], ["has", has], ["lacks", lacks], ["variant", after]];
  if (unknown.some(([part, place]) => view[part] && place < 0)) return [];
  const fits = (i) =>
    (k < 0 || DATA.true[i] === k) && (driver < 0 || DATA.driver[i] === driver)
    && (has < 0 || shows(i, has)) && (lacks < 0 || (masked(i) && !shows(i, lacks)))
    && (!view.votes || votes(i).kind === view.votes)
    && (called < 0 || (after >= 0 ? answer(after, i) === called : answers(i).includes(called)))
    && (!view.answer || after < 0 || (answer(after, i) >= 0 && right(after, i) === (view.answer === "right")))
    && (!view.flip || (view.flip === "both" ? flipOf(i, before, after) !== "" : flipOf(i, before, after) === view.flip))
    && (!word || DATA.names[i].toLowerCase().includes(word));
  return ordered(Array.from({length: COUNT}, (_, i) => i).filter(fits), view.sort, after);
};

const mean = (value, v, i) => {
  const given = (v >= 0 ? [v] : VARIANTS.map((_, w) => w)).map((w) => value(w, i)).filter(Number.isFinite);
  return given.length ? given.reduce((a, b) => a + b) / given.length : NaN;
};
const ORDERS = {
  surest: (v) => (i) => -mean(sure, v, i),
  unsure: (v) => (i) => mean(sure, v, i),
  loss: (v) => (i) => -mean(loss, v, i),
  disagreement: () => (i) => -disagreement(i),
};
const ordered = (images, sort, v) => {
  // Images with pictures first, in the order of the data, unless another order is asked for.
  const key = ORDERS[sort]?.(v) ?? ((i) => (SHOWN.has(i) ? 0 : 1));
  const keys = new Map(images.map((i) => [i, key(i)]));
  const last = (x) => (Number.isNaN(x) ? Infinity : x);
  return images.sort((a, b) => last(keys.get(a)) - last(keys.get(b)) || a - b);
};

// Small pieces that the list and the view of one image share. Names are text, never markup.
const make = (tag, about = {}, ...children) => {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(about)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "text") node.textContent = value;
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null));
  return node;
};
const share = (x) => (Number.isFinite(x) ? x.toFixed(2).replace(/^0/, "") : "–");
const className = (k) => (k < 0 ? "no prediction" : DATA.classes[k][1]);
const verdictOf = (v, i) => (answer(v, i) < 0 ? "no prediction" : `${CLASSES[answer(v, i)]}\u00a0${share(sure(v, i))}\u00a0${right(v, i) ? "✓" : "✗"}`);
const framePlace = (i) => `pictures/${encodeURIComponent(slugOf(i))}.jpg`;
const maskPlace = (i) => `pictures/${encodeURIComponent(slugOf(i))}.mask.jpg`;
const frameWords = (i) => `Frame ${DATA.names[i]}: driver ${DATA.drivers[DATA.driver[i]]}, ${className(DATA.true[i])}`;
