"""Expected outputs are those of Moses' tokenizer.perl for these synthetic sentences."""

from __future__ import annotations

from pathlib import Path

import pytest
from sacremoses import MosesTokenizer

from reluformer.corpus.moses import (
    Truecaser,
    count_casings,
    detokenise,
    detokenise_all,
    lowercase,
    tokenizer,
    write_truecaser,
)
from reluformer.corpus.prepare import Workers, truecase


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
    """If sacremoses fixes this, our correction can go."""
    assert MosesTokenizer("de").tokenize("Käse usw.", return_str=True) == "Käse usw."


def test_equal_to_sacremoses_inside_a_line() -> None:
    text = "Dr. Maier traf am 3. Mai Prof. Groß, u.a. wegen 1.000 Fragen, die z.T. offen sind !"
    assert tokenizer("de")(text) == MosesTokenizer("de").tokenize(text, return_str=True)


def test_a_very_long_line() -> None:
    line = "wort " * 20_000
    assert tokenizer("de")(line).count("wort") == 20_000


def test_lowercase_as_perl() -> None:
    assert lowercase("ÄRGER İ ΟΔΟΣ") == "ärger i\u0307 οδοσ"


TEXT = [
    "The house is old .",
    "Is the House red ? It is : the house stands .",
    "&quot; We know the house . &quot; Then he left .",
    "( Anna ) sees Anna .",
    "",
]


@pytest.fixture
def truecaser(tmp_path: Path) -> Truecaser:
    write_truecaser(count_casings(TEXT), tmp_path / "model")
    return Truecaser(tmp_path / "model")


def test_learns_only_where_casing_means_something() -> None:
    counts = count_casings(TEXT)
    assert counts["The"] == counts["Is"] == counts["It"] == counts["We"] == 0
    assert counts["the"] == 2  # the one after ":" begins a sentence
    assert counts["house"] == 3 and counts["House"] == 1
    # Opening quotes are skipped only at the start of a line, so the word after ". &quot;" counts.
    assert counts["Then"] == 1
    # "(" at the start is skipped, and so is Anna; ")" and what follows count.
    assert counts["Anna"] == 1


def test_model_file_is_moses(tmp_path: Path) -> None:
    write_truecaser({"house": 3, "House": 1, "a": 2}, tmp_path / "model")
    assert (tmp_path / "model").read_text() == "a (2/2)\nhouse (3/4) House (1)\n"


def test_of_equal_counts_the_choice_is_fixed(tmp_path: Path) -> None:
    write_truecaser({"may": 2, "May": 2}, tmp_path / "model")
    assert Truecaser(tmp_path / "model").best["may"] == "May"


def test_truecases(truecaser: Truecaser) -> None:
    assert truecaser("The House THE new . House &quot;") == "the House the new . house &quot;"
    assert truecaser("&quot; HOUSE Unseen") == "&quot; house Unseen"
    assert truecaser("Unseen : The") == "Unseen : the"
    assert truecaser("the end . &apos; ") == "the end . &apos;"
    assert truecaser("") == ""


def test_corpus_in_place(tmp_path: Path) -> None:
    for split in ("train", "valid", "test"):
        (tmp_path / f"{split}.tok.en").write_text("".join(f"{line}\n" for line in TEXT))
    with Workers(1) as pool:
        truecase(tmp_path, "en", pool)
    lines = (tmp_path / "test.tok.en").read_text().split("\n")
    assert lines[0] == "the house is old ."
    assert len(lines) == len(TEXT) + 1
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "test.tok.en",
        "train.tok.en",
        "truecase.en",
        "valid.tok.en",
    ]


def test_moses_tokens_become_text() -> None:
    text = "hello , it &apos;s a test @-@ case &quot; yes &quot; ."
    assert detokenise(text, "en") == 'hello, it\'s a test-case "yes".'


def test_recase_undoes_truecasing_of_the_first_letter_only() -> None:
    assert detokenise("das ist gut .", "de", recase=True) == "Das ist gut."
    assert detokenise("&quot; übrigens , ja &quot;", "de", recase=True) == '"Übrigens, ja"'
    assert detokenise("...", "de", recase=True) == "..."


def test_order_is_kept_and_empty_lines_stay() -> None:
    assert detokenise_all(["b .", "", "a ."], "en") == ["b.", "", "a."]
