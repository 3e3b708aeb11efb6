"""What makes the reader's page a page: its template, its style, and the script of its filters."""

from __future__ import annotations

from reluformer.paper.page import HEAD

STYLE = """
:root { scroll-padding-top: .5rem; }
section { margin: 2.2rem 0; border-top: 1px solid #ccc; padding-top: .6rem; }
section > h2 { font-size: 1.25rem; margin: .2rem 0 .6rem; }
h3 { font-size: 1.08rem; margin: 1.6rem 0 .3rem; }
h4 { font-size: 1rem; margin: 1.1rem 0 .2rem; }
nav ul { columns: 18rem; padding-left: 1.1rem; margin: .3rem 0; }
nav li { break-inside: avoid; margin: .15rem 0; }
a { color: #0b4f8a; overflow-wrap: anywhere; }
figure { margin: 1.2rem 0; }
figure img { max-width: 100%; height: auto; display: block; }
figcaption { color: #444; font-size: .9rem; max-width: 46rem; }
td .curve { display: block; margin: -.2rem 0; }
.filters { display: flex; flex-wrap: wrap; gap: .5rem; margin: .6rem 0 -.2rem; font-size: .9rem; align-items: center; }
.filters input, .filters select { font: inherit; padding: .25rem .4rem; max-width: 100%; }
.filters output { color: #444; }
tr:target, article:target { background: #fff8dc; }
@media print {
  .filters, nav { display: none; }
  section { break-before: page; }
  figure, tr { break-inside: avoid; }
}
"""

SCRIPT = """
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
    const words = search.value.toLowerCase().split(/\\s+/).filter(Boolean);
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
  table.closest(".wide").before(bar);
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
"""

TEMPLATE = (
    HEAD
    + """<style>{{ style }}</style>
</head>
<body>
<header>
<h1>{{ title }}</h1>
{% if stamp %}<p class="toy">{{ stamp }}</p>
{% endif %}<p>A reproduction of <em>A Study on ReLU and Softmax in Transformer</em> (Shen et al., 2023,
<a href="https://arxiv.org/abs/2302.06461">arXiv:2302.06461</a>): the paper's claims with our verdicts,
every table and figure, every run, and what all of it rests on. {{ state }}</p>
</header>
<nav aria-label="Contents"><ul>
<li><a href="#claims">The claims</a></li>
{% for study in studies %}<li><a href="#study-{{ study.name }}">{{ study.title }}</a></li>
{% endfor %}{% if maps %}<li>Attention maps: {% for figure in maps %}<a href="#{{ figure.id }}">{{ figure.study }}</a>\
{{ ", " if not loop.last }}{% endfor %}</li>
{% endif %}<li><a href="#runs">Every run, with its training curve</a></li>
<li><a href="#corpora">Corpora</a></li>
<li><a href="#configuration">Configuration</a></li>
<li><a href="#provenance">Provenance</a></li>
</ul></nav>
<main>
<section id="claims"><h2>The claims</h2>
{% if claims %}<p>{{ rule }}</p>
{{ verdicts }}
<p class="notes">{{ sources }}</p>
<h3>What each verdict rests on</h3>
{% for claim in claims %}<article id="claim-{{ claim.id }}"><h4>{{ claim.id }}: {{ claim.label }}</h4>
<p>{{ claim.sentence }}</p>
{% if claim.rules %}{{ grid(["outcome", "rule", "ours"], claim.rules) }}
{% else %}<p>{{ claim.rests_on }}</p>
{% endif %}{% if claim.runs %}<details><summary>{{ claim.runs|length }} runs</summary><ul>
{% for run, href in claim.links %}<li>{% if href %}<a href="{{ href }}">{{ run }}</a>{% else %}{{ run }}{% endif %}</li>
{% endfor %}</ul></details>
{% endif %}</article>
{% endfor %}{% else %}<p>The claims are not judged yet.</p>
{% endif %}</section>
{% for study in studies %}<section id="study-{{ study.name }}"><h2>{{ study.title }}</h2>
{{ study.body }}
{% if study.files %}<p>Data: {{ study.files }}</p>
{% endif %}{% for figure in study.figures %}<figure id="{{ figure.id }}">\
{% if figure.data %}<a href="{{ figure.picture }}"><img alt="{{ figure.title }}" src="{{ figure.data }}"></a>\
{% else %}<p>Not drawn yet.</p>{% endif %}
<figcaption>{{ figure.title }}. {{ figure.files }}</figcaption></figure>
{% endfor %}<details><summary>Configuration of the study</summary><pre>{{ study.configuration }}</pre></details>
</section>
{% endfor %}<section id="runs"><h2>Every run</h2>
<p>Blue is the training loss, red the validation loss, in nats a token, from the first update to the last.</p>
{{ runs }}</section>
<section id="corpora"><h2>Corpora</h2>
{% for corpus in corpora %}<details id="corpus-{{ corpus.name }}"><summary>{{ corpus.name }}</summary>
{{ corpus.body }}</details>
{% else %}<p>None is prepared yet.</p>
{% endfor %}</section>
<section id="configuration"><h2>Configuration</h2>
<p>As it was laid together from the configuration files; each run's own is <code>config.yaml</code> in its folder.</p>
<details><summary>The experiment</summary><pre>{{ configuration }}</pre></details></section>
<section id="provenance"><h2>Provenance</h2>
{% for name, found in said.items() %}<h3>{{ name }}</h3>{{ grid([name, "runs"], found) }}
{% endfor %}<h3>Archives</h3>
{{ grid(["corpus", "file", "sha256", "bytes", "published"], archives) }}
<h3>What the trainings read</h3>
<details><summary>{{ data|length }} files and their sha256</summary>{{ grid(["file", "sha256"], data) }}</details>
</section>
</main>
<script>{{ script }}</script>
</body>
</html>
"""
)
