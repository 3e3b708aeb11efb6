import statistics

import pandas as pd
import pytest
from scipy import stats

from reluformer.config.metrics import metric
from reluformer.paper.runs import read_runs
from reluformer.paper.tables import cells, escape_tex, latex, markdown, pipe_table, raw_table, shown_table


def table_of(example, study):
    config = example.experiment.studies[study]
    metrics = [metric(name) for name in config.columns]
    frame = read_runs(example.experiment, study, metrics, example.results)
    return cells(frame, config, metrics), config, metrics


def test_means_and_spreads_over_seeds(make):
    example = make(seeds=[1, 2, 3])
    for run in example.experiment.study_runs("ffn-activation"):
        example.write(run, score=30.0 + run.seed**2)
    table, config, metrics = table_of(example, "ffn-activation")
    values = [31.0, 34.0, 39.0]
    row = table.iloc[0]
    assert row["tokenized_bleu_mean"] == pytest.approx(statistics.mean(values))
    assert row["tokenized_bleu_sd"] == pytest.approx(statistics.stdev(values))
    assert row["tokenized_bleu_n"] == 3 and row["runs"] == 3
    interval = stats.t.interval(0.95, 2, loc=statistics.mean(values), scale=stats.sem(values))
    assert (row["tokenized_bleu_low"], row["tokenized_bleu_high"]) == pytest.approx(interval)
    assert row["tokenized_bleu_text"] == "34.67 ± 4.04 [24.63, 44.71]"
    assert row["tokenized_bleu_short"] == "34.67 ± 4.04"
    shown = shown_table(table, config, metrics)
    assert list(shown["system"]) == [
        "Transformer (ReLU FFN, Softmax attention)",
        "Softmax in the FFN",
        "Softmax + LayerNorm in the FFN",
    ]
    assert list(shown.columns)[:3] == ["system", "BLEU (tokenised, lower-cased)", "BLEU (sacreBLEU)"]
    assert "tokenized_bleu_text" not in raw_table(table, metrics)


def test_one_seed_has_no_spread(make):
    example = make()
    example.fill("ffn-activation")
    table, _, _ = table_of(example, "ffn-activation")
    assert table["tokenized_bleu_sd"].isna().all() and table["tokenized_bleu_low"].isna().all()
    assert "±" not in table["tokenized_bleu_text"].iloc[0]


def test_cells_state_why_a_value_is_missing(make):
    example = make(seeds=[1, 2])
    first, second, third, fourth, *_ = example.experiment.study_runs("ffn-activation")
    example.write(first, score=25.0)
    example.write(second, diverged=True)
    example.write(third, diverged=True)
    example.write(fourth, diverged=True)
    table, _, _ = table_of(example, "ffn-activation")
    assert list(table["tokenized_bleu_text"]) == [
        "25.00 (1 of 2 diverged)",
        "diverged (updates 312, 312)",
        "not run",
    ]
    assert list(table["status"]) == ["1 finished; 1 diverged", "diverged", "not run"]


def test_one_diverged_run_names_its_update(make):
    example = make()
    example.fill("length-variance")
    table, config, metrics = table_of(example, "length-variance")
    shown = shown_table(table, config, metrics).set_index("system")
    assert shown.loc["Direct ReLU attention", "BLEU (tokenised, lower-cased)"] == "diverged (update 312)"
    assert shown.loc["Direct ReLU attention", "first training loss"] == "8.50"


def test_a_key_may_be_pivoted_into_columns(make):
    example = make()
    for run in example.experiment.study_runs("memory-size"):
        slots = int(run.system.split("=")[1].split("+")[0])
        example.write(run, score=float(slots) / 10 + (5 if run.system.startswith("ffn-softmax+") else 0))
    shown = shown_table(*table_of(example, "memory-size"))
    assert list(shown.columns) == [
        "slots",
        "Transformer (ReLU FFN, Softmax attention)",
        "Softmax in the FFN",
        "Softmax + LayerNorm in the FFN",
    ]
    assert list(shown["slots"]) == [32, 128, 512]
    assert list(shown["Softmax in the FFN"]) == ["8.20", "17.80", "56.20"]


def test_columns_of_several_pivoted_metrics_name_both(make):
    example = make(studies={"memory-size": {"vary": {"slots": [32]}, "columns": ["bleu", "tokenized_bleu"]}})
    example.fill("memory-size")
    shown = shown_table(*table_of(example, "memory-size"))
    assert list(shown.columns)[1:3] == [
        "BLEU (sacreBLEU): Transformer (ReLU FFN, Softmax attention)",
        "BLEU (sacreBLEU): Softmax in the FFN",
    ]
    assert len(shown.columns) == 7


def test_documents_are_distinguished_by_length(make):
    example = make()
    example.fill("document-length")
    shown = shown_table(*table_of(example, "document-length"))
    assert list(shown.columns)[:2] == ["L", "system"] and sorted(set(shown["L"])) == [64, 128]
    assert list(shown["s-BLEU"].unique()) == ["–"]


def test_single_sentences_are_a_row_next_to_the_segments(make):
    example = make(studies={"document-length": {"lengths": ["sentence", 64], "packing": ["within"]}})
    example.fill("document-length")
    shown = shown_table(*table_of(example, "document-length"))
    assert list(shown.columns)[:4] == ["packing", "L", "system", "recipe"]
    assert shown.iloc[0, :2].tolist() == ["–", "sentence"] and len(shown) == 6 + 6 * 2
    assert list(shown["recipe"])[:6] == ["–"] * 6 and set(shown["recipe"][6:]) == {"from-sentences", "scratch"}


def test_cells_carry_the_marks_of_what_is_significant(make):
    example = make(seeds=[1, 2])
    for run in example.experiment.study_runs("ffn-activation"):
        example.write(run, score=30.0 + run.seed, diverged=run.system == "ffn-softmax" and run.seed == 2)
    config = example.experiment.studies["ffn-activation"]
    metrics = [metric("tokenized_bleu")]
    frame = read_runs(example.experiment, "ffn-activation", metrics, example.results)
    marks = {
        (f"some-sentences/{system}", "tokenized_bleu"): "*†" for system in ("ffn-softmax", "ffn-softmax-layernorm")
    }
    table = cells(frame, config, metrics, marks)
    assert list(table["tokenized_bleu_text"]) == [
        "31.50 ± 0.71 [25.15, 37.85]",
        "31.00 *† (1 of 2 diverged)",
        "31.50 ± 0.71 [25.15, 37.85] *†",
    ]
    assert list(shown_table(table, config, metrics, "short").iloc[:, 1])[2] == "31.50 ± 0.71 *†"


TABLE = pd.DataFrame({"system": ["A & B", "C|D"], "share": ["50% ± 1%", "not run"]})


def test_markdown_keeps_cells_as_they_are():
    text = markdown("A title", TABLE, ["A note."])
    lines = text.splitlines()
    assert lines[0] == "# A title" and text.endswith("A note.\n")
    assert [cell.strip() for cell in lines[4].strip("|").split("|")] == ["A & B", "50% ± 1%"]
    assert "C\\|D" in pipe_table(TABLE)


def test_latex_is_escaped_and_labelled():
    text = latex("my-study", "100 % of γ", TABLE, ["x_1 ≤ 2"])
    assert "\\label{tab:my-study}" in text and "\\caption{100 \\% of $\\gamma$}" in text
    assert "A \\& B & 50\\% $\\pm$ 1\\% \\\\" in text and "x\\_1 $\\leq$ 2" in text
    assert "\\resizebox{\\ifdim\\width>\\linewidth" in text and "\\toprule" in text
    assert text.count("\\begin{") == text.count("\\end{") == 2
    assert all(ord(character) < 128 for character in text)


def test_a_backslash_is_not_escaped_twice():
    assert escape_tex("\\{") == r"\textbackslash{}\{"
