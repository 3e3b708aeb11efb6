import pytest
from markupsafe import Markup

from reluformer.paper.page import DENSE, grid


def test_a_cell_knows_its_column_and_a_row_its_name():
    table = grid(("system", "a <b>"), [("A & B", 1.5), (Markup("<i>C</i>"), "not run")], ["run-1", "run-2"])
    assert '<tr id="run-1"><td data-label="system">A &amp; B</td><td data-label="a &lt;b&gt;">1.5</td></tr>' in table
    assert '<td data-label="system"><i>C</i></td><td data-label="a &lt;b&gt;" class="hole">not run</td>' in table
    assert '<th scope="col">a &lt;b&gt;</th>' in table


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("21.49 ± 1.36 [9.29, 33.70] †", ["21.49 ± 1.36", "[9.29, 33.70]"]),
        ("0.2 ± 0.1 against 0.3 ± 0.1, p = 0.002", ["0.2 ± 0.1", "0.3 ± 0.1"]),
        ("-0.67 [-2.19, 0.85]; slots 32", ["[-2.19, 0.85]"]),
        ("no number [length in {32}]", []),
    ],
)
def test_no_line_breaks_into_a_number(text, kept):
    table = grid(("seen",), [(text,)])
    assert Markup(table).striptags().endswith(" ".join(text.split()))
    assert table.count('<span class="number">') == len(kept)
    assert all(f'<span class="number">{one}</span>' in table for one in kept)


def test_many_columns_are_set_small():
    many = [str(n) for n in range(DENSE)]
    assert 'class="wide dense"' in grid(many, [many]) and 'class="wide"' in grid(many[1:], [many[1:]])


def test_a_row_of_another_length_is_refused():
    with pytest.raises(ValueError, match="zip"):
        grid(("one", "two"), [("1",)])
