"""Expected output: what Moses' tokenizer.perl gives for these made-up sentences."""

from __future__ import annotations

import pytest
from sacremoses import MosesTokenizer

from reluformer.corpus.moses import lowercase, tokenizer


@pytest.mark.parametrize(
    ("language", "text", "tokens"),
    [
        ("de", "Er kauft Brot, Käse usw.", "Er kauft Brot , Käse usw ."),
        ("de", "Sie wurde 75.", "Sie wurde 75 ."),
        ("de", "Am 3. Mai um 5 Uhr.", "Am 3. Mai um 5 Uhr ."),
        ("de", "Das ist z.B. gut, d.h. billig.", "Das ist z.B. gut , d.h. billig ."),
        ("de", "Wir sind z.B.", "Wir sind z.B ."),
        ("en", "It was No. 5 vs. Smith.", "It was No. 5 vs. Smith ."),
        ("en", "Did he say No. Yes.", "Did he say No . Yes ."),
        ("en", "Meet Mr. Jones Jr.", "Meet Mr. Jones Jr ."),
        ("en", "He works for St.", "He works for St ."),
        ("en", "Don't say \"it's 5,300\" [now] & <then> | never...", None),
        ("en", "the end. of it", "the end. of it"),
        ("en", "Is it so? Yes, at 9 a.m. tomorrow", "Is it so ? Yes , at 9 a.m. tomorrow"),
        ("en", "   ", ""),
        ("fi", "EU:n ja USA:ssa: kello 10:30.", "EU:n ja USA:ssa : kello 10 : 30 ."),
        ("sv", "EU:s mål: klart.", "EU:s mål : klart ."),
        ("ca", "La il·lusió d'aquell · dia.", "La il·lusió d&apos; aquell · dia ."),
        ("ga", "B'fhéidir d'fhear.", "B&apos; fhéidir d&apos; fhear ."),
    ],
)
def test_final_periods_and_abbreviations(language: str, text: str, tokens: str | None) -> None:
    if tokens is None:
        tokens = "Don &apos;t say &quot; it &apos;s 5,300 &quot; &#91; now &#93; &amp; &lt; then &gt; &#124; never ..."
    assert tokenizer(language)(text) == tokens


def test_period_and_quote_at_the_end_leave_a_space_as_in_moses() -> None:
    assert tokenizer("en")("He said 'let it go.'") == "He said &apos; let it go . &apos; "


def test_the_correction_is_needed() -> None:
    """If sacremoses ever does this itself, our layer can shrink."""
    assert MosesTokenizer("de").tokenize("Käse usw.", return_str=True) == "Käse usw."


def test_equal_to_sacremoses_inside_a_line() -> None:
    text = "Dr. Maier traf am 3. Mai Prof. Groß, u.a. wegen 1.000 Fragen, die z.T. offen sind !"
    assert tokenizer("de")(text) == MosesTokenizer("de").tokenize(text, return_str=True)


def test_a_very_long_line() -> None:
    line = "wort " * 20_000
    assert tokenizer("de")(line).count("wort") == 20_000


def test_lowercase_as_perl() -> None:
    assert lowercase("ÄRGER İ ΟΔΟΣ") == "ärger i\u0307 οδοσ"
