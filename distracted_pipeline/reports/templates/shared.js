// What the scripts of all pages share: data that a page holds is read, every table is offered as CSV, every figure as SVG.
const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
const unpacked = async (id) => {
  const stream = new Blob([bytes(document.getElementById(id).textContent)]).stream();
  return JSON.parse(await new Response(stream.pipeThrough(new DecompressionStream("deflate"))).text());
};
const downloadText = (text, name, type) => {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], {type}));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
};
const csvLine = (cells) => cells.map((cell) => (/[",\n]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell)).join(",");
const offerDownloads = (root) => {
  const fileName = (words, end) => `${words.toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-|-$/g, "").slice(0, 80)}.${end}`;
  const spoken = (cell) => {
    const figure = cell.querySelector("svg > title");
    const text = figure ? figure.textContent : cell.innerText ?? cell.textContent;
    return text.replace(/\s+/g, " ").trim().replaceAll("−", "-").replaceAll("±", "").replace(/^–$/, "");
  };
  const cellsOf = (row) => [...row.cells].flatMap((cell) => [spoken(cell), ...Array(cell.colSpan - 1).fill("")]);
  const asCsv = (table) => [...table.rows].map((row) => csvLine(cellsOf(row))).join("\n") + "\n";
  const cleaned = (svg) => {
    const copy = svg.cloneNode(true);
    for (const link of copy.querySelectorAll("a")) link.replaceWith(...link.childNodes);
    return copy;
  };
  const beside = (parts) => {
    // Parts (drawing, left, top) become one document on a white ground.
    const right = Math.max(...parts.map(([svg, left]) => left + Number(svg.getAttribute("width"))));
    const bottom = Math.max(...parts.map(([svg, , top]) => top + Number(svg.getAttribute("height"))));
    const inner = parts.map(([svg, left, top]) => {
      const copy = cleaned(svg);
      copy.setAttribute("x", left);
      copy.setAttribute("y", top);
      return new XMLSerializer().serializeToString(copy);
    });
    return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${right} ${bottom}" width="${right}" height="${bottom}"><style>${FIGURE_STYLE}</style>`
      + `<rect width="${right}" height="${bottom}" fill="#fff"/>${inner.join("")}</svg>\n`;
  };
  const label = (words, width) => {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg"), text = document.createElementNS("http://www.w3.org/2000/svg", "text");
    for (const [name, value] of [["width", width], ["height", 22]]) svg.setAttribute(name, value);
    text.setAttribute("y", 15);
    text.textContent = words;
    svg.append(text);
    return svg;
  };
  const trackRows = (table) => [...table.rows].map((row) => [row.cells[0]?.innerText.trim() ?? "", row.querySelector("svg.track, svg.strip")]).filter(([, track]) => track);
  const stacked = (table) => {
    const rows = trackRows(table), width = 14 + 7.5 * Math.max(...rows.map(([words]) => words.length));
    let top = 0;
    return beside(rows.flatMap(([words, track]) => {
      const at = top;
      top += Number(track.getAttribute("height")) + 6;
      return [[label(track.closest("thead") ? "" : words, width), 4, at], [track, width, at]];
    }));
  };
  const figureOf = (holder) => {
    let left = 0;
    return beside([...holder.querySelectorAll("svg")].map((svg) => {
      const at = left;
      left += Number(svg.getAttribute("width"));
      return [svg, at, 0];
    }));
  };
  const offer = (after, words, ways) => {
    if (after.nextElementSibling?.classList.contains("take")) return;
    const line = document.createElement("p");
    line.className = "take";
    for (const [end, type, text] of ways) {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = end.toUpperCase();
      button.setAttribute("aria-label", `Download ${words} as ${end.toUpperCase()}`);
      button.addEventListener("click", () => downloadText(text(), fileName(words, end), type));
      line.append(button);
    }
    after.after(line);
  };
  const CSV = "text/csv", SVG = "image/svg+xml";
  for (const holder of root.querySelectorAll(".scroll:not(.narrow)")) {
    const table = holder.querySelector("table"), words = holder.getAttribute("aria-label") ?? document.title;
    const spokenTable = holder.closest(".heat")?.parentElement.querySelector(".heard table");
    const ways = [];
    if (table) ways.push(["csv", CSV, () => asCsv(table)]);
    if (spokenTable) ways.push(["csv", CSV, () => asCsv(spokenTable)]);
    if (table && trackRows(table).length) ways.push(["svg", SVG, () => stacked(table)]);
    if (holder.querySelector(".sheet, svg.plot")) ways.push(["svg", SVG, () => figureOf(holder)]);
    if (ways.length) offer(holder, words, ways);
  }
  for (const plot of root.querySelectorAll("figure svg.plot")) {
    if (!plot.closest(".scroll")) offer(plot.closest(".two") ?? plot, plot.querySelector("title").textContent, [["svg", SVG, () => figureOf(plot.parentElement)]]);
  }
};
offerDownloads(document);
