// The page of labels in doubt: decisions by mouse or keyboard, kept in the browser, saved as csv.
const list = document.getElementById("cases");
const cases = [...list.children];
const key = `distracted-review-${list.dataset.key}`;
let at = -1;
const remembered = () => {
  try { return JSON.parse(localStorage.getItem(key)) ?? {}; } catch { return {}; }
};
const remember = () => {
  const decided = cases.filter((one) => one.dataset.decision).map((one) => [one.dataset.sha256, [one.dataset.decision, one.querySelector("select").value]]);
  try { localStorage.setItem(key, JSON.stringify(Object.fromEntries(decided))); } catch { /* a browser that keeps nothing: the csv does */ }
};
const show = () => {
  for (const one of cases)
    for (const button of one.querySelectorAll("[data-decide]"))
      button.setAttribute("aria-pressed", String(button.dataset.decide === one.dataset.decision));
  const count = cases.filter((one) => one.dataset.decision).length;
  document.getElementById("progress").textContent = `${count} of ${cases.length} decided`;
};
const decide = (one, decision) => {
  one.dataset.decision = one.dataset.decision === decision ? "" : decision;
  show();
  remember();
};
const go = (to) => {
  at = Math.max(0, Math.min(cases.length - 1, to));
  cases.forEach((one, i) => one.setAttribute("aria-current", String(i === at)));
  cases[at]?.focus();
  cases[at]?.scrollIntoView({block: "nearest"});
};
const cell = (text) => (/[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
const asCsv = () => "img,sha256,decision,classname\n" + cases
  .filter((one) => one.dataset.decision)
  .map((one) => [one.dataset.img, one.dataset.sha256, one.dataset.decision, one.dataset.decision === "relabel" ? one.querySelector("select").value : ""].map(cell).join(",") + "\n")
  .join("");
document.getElementById("save").addEventListener("click", () => {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([asCsv()], {type: "text/csv"}));
  link.download = "label_decisions.csv";
  link.click();
});
cases.forEach((one, i) => {
  one.addEventListener("click", (event) => {
    if (event.target.dataset.decide) decide(one, event.target.dataset.decide);
    if (i !== at && event.target.tagName !== "SELECT") go(i);
  });
  one.querySelector("select").addEventListener("change", () => { one.dataset.decision = "relabel"; show(); remember(); });
});
const keys = {r: "relabel", y: "keep", x: "drop"};
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.tagName === "SELECT") return;
  if (["j", "ArrowDown", "ArrowRight"].includes(event.key)) { go(at + 1); event.preventDefault(); }
  else if (["k", "ArrowUp", "ArrowLeft"].includes(event.key)) { go(at - 1); event.preventDefault(); }
  else if (at >= 0 && keys[event.key]) { cases[at].dataset.decision = keys[event.key]; show(); remember(); go(at + 1); }
  else if (at >= 0 && event.key === "u") { cases[at].dataset.decision = ""; show(); remember(); }
});
for (const [sha256, [decision, name]] of Object.entries(remembered())) {
  const one = cases.find((each) => each.dataset.sha256 === sha256);
  if (!one) continue;
  one.dataset.decision = decision;
  one.querySelector("select").value = name;
}
show();
