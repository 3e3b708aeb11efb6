import re

from reluformer.paper.assets import SCRIPT, STYLE, TEMPLATE


def test_the_page_fetches_nothing():
    for text in (STYLE, SCRIPT, TEMPLATE):
        assert not re.search(r"@import|fetch\(|XMLHttpRequest|<link|src=\"http", text)


def test_the_page_has_a_style_for_paper_and_is_as_wide_as_a_phone():
    assert "@media print" in STYLE and "width=device-width" in TEMPLATE
