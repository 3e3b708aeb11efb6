from reluformer.paper.record import take
from reluformer.paper.record_page import write_page


def test_the_page_says_on_what_a_record_rests(scored, tmp_path):
    made, record = scored(), tmp_path / "record"
    take(made.experiment, made.results, record)
    statistics = record / "corpora" / "some-sentences" / "statistics.json"
    statistics.write_text('{"splits": {"train": {"pairs": 123886}}}', "utf-8")
    write_page(made.experiment, record)
    text = (record / "README.md").read_text("utf-8")
    assert "# Record: Made up" in text and "TOY CONFIGURATION" in text
    assert "| some-sentences | finished and scored | 3 " in text
    assert "| some-sentences | train   | 123,886 " in text
    assert "unknown processor" in text  # of summaries without a machine
