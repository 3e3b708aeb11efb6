"use strict";
const NAMED = /^(system|dataset|status|verdict|outcome|packing|seed|L|split|corpus)$/;
const LONG = 10;
for (const table of document.querySelectorAll(".wide > table")) {
  const rows = [...table.tBodies[0].rows];
  if (rows.length <= LONG) continue;
  const text = row => row.textContent.toLowerCase();
  const bar = document.createElement("div");
  bar.className = "filters";
  const search = document.createElement("input");
  search.type = "search";
  search.placeholder = "filter";
  search.setAttribute("aria-label", "rows with this text");
  bar.append(search);
  const selects = [];
  [...table.tHead.rows[0].cells].forEach((cell, column) => {
    if (!NAMED.test(cell.textContent)) return;
    const values = [...new Set(rows.map(row => row.cells[column].textContent))];
    if (values.length < 2) return;
    const select = document.createElement("select");
    select.name = cell.textContent;
    select.setAttribute("aria-label", cell.textContent);
    select.append(new Option(cell.textContent + ": all", ""));
    for (const value of values) select.append(new Option(value));
    bar.append(select);
    selects.push([column, select]);
  });
  const count = document.createElement("output");
  bar.append(count);
  const apply = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of rows) {
      const fits = words.every(word => text(row).includes(word)) && selects.every(
        ([column, select]) => !select.value || row.cells[column].textContent === select.value);
      row.hidden = !fits;
      shown += fits;
    }
    count.value = shown + " of " + rows.length + " rows";
  };
  bar.addEventListener("input", apply);
  const wide = table.closest(".wide");
  wide.before(bar);
  if (matchMedia("(max-width: 48rem)").matches && !table.closest("details, #claims")) {
    const fold = document.createElement("details");
    const summary = document.createElement("summary");
    summary.textContent = "Table of " + rows.length + " rows";
    bar.before(fold);
    fold.append(summary, bar, wide);
  }
  apply();
  table.clear = () => { search.value = ""; selects.forEach(([, select]) => { select.value = ""; }); apply(); };
}
const arrive = () => {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!target) return;
  if (target.hidden) target.closest("table").clear();
  for (let part = target; part; part = part.parentElement) if (part.tagName === "DETAILS") part.open = true;
  target.scrollIntoView();
};
addEventListener("hashchange", arrive);
arrive();
let closed = [];
addEventListener("beforeprint", () => {
  closed = [...document.querySelectorAll("details:not([open])")];
  for (const details of closed) details.open = true;
});
addEventListener("afterprint", () => { for (const details of closed) details.open = false; });
