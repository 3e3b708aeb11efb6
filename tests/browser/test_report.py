"""The report in a real browser: every table and figure opens, and the console stays clean."""

from __future__ import annotations

import pytest
from axe_playwright_python.sync_playwright import Axe
from tests.browser.test_index import SERIOUS

SHOW = """
async (path) => {
    const entry = results[path];
    const address = entry.data_uri;
    if (path.endsWith(".svg")) {
        const image = new Image();
        image.src = address;
        await image.decode();
        return {width: image.naturalWidth, tables: 0, text: ""};
    }
    const page = new DOMParser().parseFromString(await (await fetch(address)).text(), "text/html");
    return {width: 0, tables: page.querySelectorAll("table tr").length, text: page.body.innerText};
}
"""


@pytest.fixture
def page(opened, smoke):
    """The report of the smoke run."""
    page = opened(smoke.folder / "results" / "paper" / "report.html", 1440)
    page.wait_for_selector("text=Claims")
    return page


def test_every_table_and_figure_is_in_the_report_and_opens(page, smoke):
    paper = smoke.folder / "results" / "paper"
    wanted = {f"results/paper/figures/{path.name}" for path in (paper / "figures").glob("*.svg")}
    wanted |= {f"results/paper/tables/{path.name}" for path in (paper / "tables").glob("*.html")}
    wanted |= {f"results/paper/corpora/{corpus}.html" for corpus in ("numbers", "letters")}
    wanted |= {"results/paper/claims.html", "results/paper/index.html"}
    logs = {str(path.relative_to(smoke.folder)) for path in (smoke.folder / "results" / "runs").rglob("log.jsonl")}
    assert set(page.evaluate("Object.keys(results)")) == wanted | logs and len(logs) == 12
    for path in sorted(wanted):
        shown = page.evaluate(SHOW, path)
        assert shown["width"] > 100 or shown["tables"] > 1, path
        if path.endswith(".html"):
            assert "toy" in shown["text"].lower(), path
    assert page.errors == []


def test_every_entry_has_a_caption_a_category_and_labels(page, smoke):
    for path, entry in page.evaluate("results").items():
        assert entry["caption"] and entry["labels"], path
    studies = list((smoke.folder / "results" / "paper" / "tables").glob("*.html"))
    assert len(page.evaluate("Object.keys(categories)")) == len(studies) + len(
        ["Start here", "Claims", "Corpora", "Training logs"]
    )


def test_a_claim_leads_to_its_rules_inside_the_report(page):
    page.evaluate(
        """path => app.setView({content: "html", contentPath: results[path].data_uri, resultPath: path})""",
        "results/paper/claims.html",
    )
    shown = page.frame_locator("iframe")
    links = shown.locator("tbody a[href^='#']")
    assert links.count() >= 28
    links.nth(10).click()
    target = shown.locator(f'[id="{links.nth(10).get_attribute("href")[1:]}"]')
    target.wait_for(state="visible")
    assert -1 <= target.bounding_box()["y"] < 900
    assert page.errors == []


def test_a_category_opens_by_click_and_shows_its_picture(page):
    page.click("text=ReLU against Softmax in the FFN")
    page.wait_for_selector("text=ffn-activation-bleu")
    assert page.errors == []


def test_an_accessibility_checker_finds_nothing_serious(page):
    """Runs axe-core on the first view and on an open category; labels come from workflow/report/labels.html."""
    for _ in range(2):
        violations = Axe().run(page).response["violations"]
        serious = [(v["id"], v["nodes"][0]["html"][:200]) for v in violations if v["impact"] in SERIOUS]
        assert serious == []
        page.click("text=ReLU against Softmax in the FFN")
        page.wait_for_selector("text=ffn-activation-bleu")
