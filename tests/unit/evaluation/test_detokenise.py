from reluformer.evaluation.detokenise import capitalise, detokenise, detokenise_all


def test_moses_tokens_become_text():
    text = "hello , it &apos;s a test @-@ case &quot; yes &quot; ."
    assert detokenise(text, "en") == 'hello, it\'s a test-case "yes".'


def test_recase_undoes_truecasing_of_the_first_letter_only():
    assert detokenise("das ist gut .", "de", recase=True) == "Das ist gut."
    assert capitalise('"übrigens, ja"') == '"Übrigens, ja"'
    assert capitalise("...") == "..."


def test_order_is_kept_and_empty_lines_stay():
    assert detokenise_all(["b .", "", "a ."], "en") == ["b.", "", "a."]
