import re

from reluformer.paper.assets import SCRIPT, STYLE, TEMPLATE
from reluformer.paper.page import STYLE as SHARED


def test_the_page_fetches_nothing():
    for text in (SHARED, STYLE, SCRIPT, TEMPLATE):
        assert not re.search(r"@import|fetch\(|XMLHttpRequest|<link|src=\"http", text)


def test_the_page_has_a_style_for_paper_and_for_phones():
    assert "@media print" in STYLE and "max-width: 48rem" in SHARED and "width=device-width" in TEMPLATE
