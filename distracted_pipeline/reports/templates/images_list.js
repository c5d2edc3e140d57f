// The list of images: its controls follow the address, and the address follows its controls.
const form = document.querySelector(".filter");
const list = document.getElementById("list");
const count = document.getElementById("shown");
const more = document.getElementById("more");
const STEP = 120;
let found = [];
let drawn = 0;
let listed = null;
let scrolled = 0;

const offer = (name, options, none) => {
  const select = form.elements[name];
  select.replaceChildren(make("option", {value: "", text: none}), ...options.map(([value, text]) => make("option", {value, text})));
};
offer("class", DATA.classes, "all");
offer("driver", DATA.drivers.map((name) => [name, name]), "all");
offer("has", DATA.categories.map((name) => [name, name]), "any");
offer("lacks", DATA.categories.map((name) => [name, name]), "none");
offer("variant", DATA.variants, "all together");
offer("called", DATA.classes, "anything");
offer("against", DATA.variants, "its reference");
if (!DATA.found) for (const name of ["has", "lacks"]) form.elements[name].closest("label").hidden = true;

const showControls = (view) => {
  for (const part of PARTS) if (form.elements[part]) form.elements[part].value = view[part];
  const {after, before} = sides(view);
  form.elements.answer.disabled = after < 0;
  form.elements.against.disabled = after < 0;
  form.elements.flip.disabled = after < 0 || before < 0;
  form.elements.against.options[0].text = after >= 0 && DATA.references[after] >= 0 ? `${titleOf(DATA.references[after])} (its reference)` : "its reference";
};

const caption = (i, view) => {
  const {after, before} = sides(view);
  const lines = [`${DATA.drivers[DATA.driver[i]]} · ${className(DATA.true[i])}`];
  if (after < 0) {
    const {given, right: correct} = votes(i);
    lines.push(given ? `${correct} of ${given} variants right` : "no predictions");
  } else {
    lines.push(`${titleOf(after)}: ${verdictOf(after, i)}`);
    if (before >= 0) lines.push(`${titleOf(before)}: ${verdictOf(before, i)}`);
    if (view.sort === "loss") lines.push(`loss ${loss(after, i).toFixed(2)}`);
  }
  return make("figcaption", {}, ...lines.flatMap((line) => [line, make("br")]), make("span", {class: "quiet", text: DATA.names[i]}));
};

const card = (i, view) => make("li", {}, make("a", {href: address({...view, img: slugOf(i)})}, make("figure", {},
  SHOWN.has(i) ? make("img", {src: framePlace(i), alt: frameWords(i), loading: "lazy", decoding: "async"}) : make("span", {class: "nothing", text: "numbers only: no picture kept"}),
  caption(i, view))));

const draw = (view) => {
  const next = found.slice(drawn, drawn + STEP);
  list.append(...next.map((i) => card(i, view)));
  drawn += next.length;
  more.hidden = drawn >= found.length;
  more.textContent = `Show more (${(found.length - drawn).toLocaleString("en")} left)`;
};

const asTable = () => {
  const head = ["image", "driver", "class", ...VARIANTS.flatMap((name) => [`${name} answer`, `${name} confidence`, `${name} loss`])];
  const numbers = (v, i) => (answer(v, i) < 0 ? ["", "", ""] : [CLASSES[answer(v, i)], String(sure(v, i)), loss(v, i).toFixed(2)]);
  const row = (i) => [DATA.names[i], DATA.drivers[DATA.driver[i]], CLASSES[DATA.true[i]], ...VARIANTS.flatMap((_, v) => numbers(v, i))];
  return [head, ...found.map(row)].map(csvLine).join("\n") + "\n";
};

const showList = (view) => {
  const wanted = address({...view, img: ""});
  if (wanted !== listed) {
    found = chosen(view);
    list.replaceChildren();
    drawn = 0;
    listed = wanted;
    draw(view);
    const pictured = found.filter((i) => SHOWN.has(i)).length;
    const few = pictured < found.length ? `, ${pictured.toLocaleString("en")} with pictures` : "";
    const strange = PARTS.filter((part) => form.elements[part] && form.elements[part].value !== view[part]);
    const why = strange.length ? `: this report knows no ${strange.map((part) => `${part} “${view[part]}”`).join(", no ")}` : "";
    count.textContent = `${found.length.toLocaleString("en")} of ${COUNT.toLocaleString("en")} images${few}${why}`;
  }
};
