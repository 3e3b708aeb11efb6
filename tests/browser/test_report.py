"""The report in a real browser: every table and figure opens, and the console stays clean."""

from __future__ import annotations

import shutil

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed (apt-get install chromium)"),
]

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
def page(smoke):
    """The report of the smoke run, open in headless Chromium; `page.errors` collects what the console complains of."""
    from playwright.sync_api import sync_playwright

    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.errors = []
        page.on("console", lambda message: page.errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: page.errors.append(str(error)))
        page.goto((smoke.folder / "results" / "paper" / "report.html").as_uri())
        page.wait_for_selector("text=Claims")
        yield page
        browser.close()


def test_every_table_and_figure_is_in_the_report_and_opens(page, smoke):
    paper = smoke.folder / "results" / "paper"
    wanted = {f"results/paper/figures/{path.name}" for path in (paper / "figures").glob("*.svg")}
    wanted |= {f"results/paper/tables/{path.name}" for path in (paper / "tables").glob("*.html")}
    wanted |= {f"results/paper/corpora/{corpus}.html" for corpus in ("numbers", "letters")}
    wanted |= {"results/paper/claims.html", "results/paper/index.html"}
    assert set(page.evaluate("Object.keys(results)")) == wanted
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
    assert len(page.evaluate("Object.keys(categories)")) == len(studies) + len(["Start here", "Claims", "Corpora"])


def test_a_category_opens_by_click_and_shows_its_picture(page):
    page.click("text=ReLU against Softmax in the FFN")
    page.wait_for_selector("text=ffn-activation-bleu")
    assert page.errors == []
