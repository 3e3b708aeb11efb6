"""The index page in a real browser, at the width of a phone and of a desktop: layout, links, filters, accessibility."""

from __future__ import annotations

import json

import pytest
from axe_playwright_python.sync_playwright import Axe

SERIOUS = ("serious", "critical")

CUT_OFF = """() => {
    const cut = [];
    for (const part of document.body.querySelectorAll("*")) {
        const box = part.getBoundingClientRect();
        if (box.width && box.height && (box.left < -1 || box.right > innerWidth + 1)) cut.push(part.outerHTML);
        if (part.clientWidth && part.scrollWidth > part.clientWidth + 1
            && getComputedStyle(part).overflowX !== "visible") cut.push(part.outerHTML);
    }
    return {wide: document.documentElement.scrollWidth, window: innerWidth, cut: cut.map(text => text.slice(0, 120))};
}"""
"""Finds elements that extend beyond the window, or whose content overflows their own box."""


def open_everything(page):
    """Opens all folded sections."""
    page.evaluate("document.querySelectorAll('details').forEach(part => { part.open = true; })")


@pytest.fixture(params=[390, 1440], ids=["phone", "desk"])
def page(request, opened, smoke):
    """The index page of the smoke run."""
    return opened(smoke.folder / "results" / "paper" / "index.html", request.param)


def test_nothing_is_cut_off_with_everything_open(page):
    open_everything(page)
    layout = page.evaluate(CUT_OFF)
    assert layout["wide"] <= layout["window"] and layout["cut"] == []
    assert page.errors == []


def test_nothing_is_cut_off_on_the_pages_of_tables(opened, smoke):
    paper = smoke.folder / "results" / "paper"
    pages = [paper / "claims.html", *(paper / "tables").glob("*.html"), *(paper / "corpora").glob("*.html")]
    assert len(pages) > 10
    for path in pages:
        page = opened(path, 390)
        assert page.evaluate(CUT_OFF)["cut"] == [], path.name
        page.set_viewport_size({"width": 1440, "height": 900})
        assert page.evaluate(CUT_OFF)["cut"] == [], path.name
        assert page.errors == []


def test_a_phone_shows_the_column_name_next_to_each_cell(page):
    cell = page.locator("#claims td").nth(1)
    label = cell.evaluate("part => getComputedStyle(part, '::before').content")
    assert label == ('"reported"' if page.viewport_size["width"] == 390 else "none")
    assert page.locator("#claims thead").first.is_visible() is (page.viewport_size["width"] == 1440)


def test_the_check_detects_what_is_cut_off(page):
    page.evaluate("document.querySelector('.wide table').style.width = '3000px'")
    assert page.evaluate(CUT_OFF)["cut"]
    page.reload()
    page.evaluate("document.querySelector('header').style.width = '3000px'")
    assert page.evaluate(CUT_OFF)["cut"]


def test_every_claim_links_to_its_evidence(page, smoke):
    judged = json.loads((smoke.folder / "results" / "paper" / "claims.json").read_text(encoding="utf-8"))
    links = page.locator("#claims td a")
    assert links.count() == len(judged["claims"]) > 0
    for number in range(links.count()):
        link = links.nth(number)
        link.click()
        target = page.locator(f'[id="{link.get_attribute("href")[1:]}"]')
        assert target.is_visible() and target.bounding_box()["y"] < 900
    assert page.errors == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_an_accessibility_checker_finds_nothing_serious(opened, smoke, scheme):
    """Runs axe-core with everything unfolded; in the dark scheme only its contrast rule, as only colours differ."""
    paper = smoke.folder / "results" / "paper"
    rules = {} if scheme == "light" else {"runOnly": ["color-contrast"]}
    for name in ("index.html", "claims.html", "tables/ffn-activation.html", "corpora/numbers.html"):
        page = opened(paper / name, 1440, scheme)
        open_everything(page)
        violations = Axe().run(page, options=rules).response["violations"]
        serious = [(v["id"], v["nodes"][0]["html"][:200]) for v in violations if v["impact"] in SERIOUS]
        assert serious == [], name


def test_long_tables_are_folded(page):
    assert page.evaluate("document.documentElement.scrollHeight") < 60_000
    assert not page.locator("#runs table").is_visible()
    long = "section:not(#claims) table"
    visible = (
        f"[...document.querySelectorAll('{long}')].filter(table => table.rows.length > 11 && table.checkVisibility())"
    )
    assert page.viewport_size["width"] == 1440 or page.evaluate(f"{visible}.length") == 0


def test_files_of_runs_and_studies_open(page):
    addresses = page.evaluate("[...document.links].map(link => link.href).filter(link => link.startsWith('file:'))")
    pages = {address.partition("#")[0] for address in addresses}
    runs = page.locator("#runs tbody tr").count()
    assert len(pages) > 100 and sum("/logs/train/" in address for address in pages) == runs
    from pathlib import Path
    from urllib.parse import unquote, urlsplit

    assert [address for address in pages if not Path(unquote(urlsplit(address).path)).is_file()] == []


def test_every_figure_is_a_picture(page):
    sizes = page.evaluate("[...document.images].map(image => image.complete && image.naturalWidth)")
    assert len(sizes) >= 15 and all(size > 100 for size in sizes)


def test_filters_leave_the_rows_that_fit(page):
    open_everything(page)
    rows = page.locator("#runs tbody tr")
    before = rows.count()
    assert before > 10
    visible = "#runs tbody tr:not([hidden])"
    page.select_option('#runs select[name="system"]', "reluformer")
    shown = page.locator(visible)
    assert 0 < shown.count() < before
    assert {row.locator("td").nth(1).inner_text() for row in shown.all()} == {"reluformer"}
    page.select_option('#runs select[name="dataset"]', "numbers")
    assert {row.locator("td").nth(0).inner_text() for row in page.locator(visible).all()} == {"numbers"}
    assert page.locator("#runs output").inner_text().endswith(f"of {before} rows")
    page.fill("#runs input[type=search]", "no such run")
    assert page.locator(visible).count() == 0
    page.evaluate("location.hash = '#run-numbers/transformer/seed1'")  # a link to a hidden row shows it
    page.wait_for_selector('[id="run-numbers/transformer/seed1"]', state="visible")
    assert page.errors == []


def test_the_page_prints_as_a_pdf(page):
    if page.viewport_size["width"] == 390:
        pytest.skip("paper has one width")
    pdf = page.pdf(format="A4")
    assert pdf.startswith(b"%PDF") and len(pdf) > 50_000
    page.emulate_media(media="print")
    assert not page.locator("#runs .filters").is_visible()
