import pytest
from sacrebleu.metrics.bleu import BLEU

from reluformer.evaluation.bleu import count, summarise
from reluformer.evaluation.score import Segment, count_documents, join_documents, read_segments

SEGMENTS = [Segment("7", slice(0, 2)), Segment("7", slice(2, 3)), Segment("8", slice(3, 5))]
REFERENCES = [
    "One two three four five.",
    "Six seven eight nine.",
    "Ten apples fell down.",
    "All is well today.",
    "So it ends here.",
]


def scored(hypotheses):
    """Returns d-BLEU, s-BLEU, and which segments have as many sentences as the source."""
    counts = count_documents(SEGMENTS, hypotheses, REFERENCES, BLEU())
    return *(summarise(BLEU(), counts[kind]) for kind in ("d_bleu", "s_bleu")), counts["agreeing"].tolist()


def score(hypotheses, references):
    return summarise(BLEU(), count(BLEU(), hypotheses, references))


def test_segments_are_read(tmp_path):
    path = tmp_path / "test.segments.tsv"
    path.write_text('document\tfirst\tcount\n7\t0\t2\n"odd\t2\t1\n', encoding="utf-8")
    assert read_segments(path) == [Segment("7", slice(0, 2)), Segment('"odd', slice(2, 3))]


def test_documents_are_joined_across_their_segments():
    assert join_documents(SEGMENTS, ["a b", "c", ""]) == ["a b c", ""]


def test_perfect_translations_score_100():
    hypotheses = [REFERENCES[:2], REFERENCES[2:3], REFERENCES[3:]]
    documents, sentences, agreeing = scored(hypotheses)
    assert documents["score"] == sentences["score"] == pytest.approx(100)
    assert len(count_documents(SEGMENTS, hypotheses, REFERENCES, BLEU())["d_bleu"]) == 2
    assert agreeing == [True, True, True]


def test_sentences_are_scored_if_their_counts_agree():
    hypotheses = [["One two three four five. Six seven eight nine."], ["Ten apples fell up."], REFERENCES[3:]]
    documents, sentences, agreeing = scored(hypotheses)
    assert agreeing == [False, True, True]
    assert sentences == score(["Ten apples fell up.", *REFERENCES[3:]], REFERENCES[2:])
    whole = [" ".join(REFERENCES[:2]) + " Ten apples fell up.", " ".join(REFERENCES[3:])]
    assert documents == score(whole, [" ".join(REFERENCES[:3]), " ".join(REFERENCES[3:])])


def test_no_agreement_gives_no_sentence_score():
    assert scored([["a"], ["b", "c"], ["d"]])[1:] == (None, [False, False, False])
