from xml.etree import ElementTree

from reluformer.paper.curves import EDGE, HEIGHT, WIDTH, curve

LOG = [
    {"event": "train", "update": 10, "loss": 8.0},
    {"event": "train", "update": 20, "loss": None},
    {"event": "valid", "update": 20, "loss": 4.0},
    {"event": "train", "update": 40, "loss": 2.0},
]


def test_a_curve_goes_from_the_highest_loss_to_the_lowest():
    svg = ElementTree.fromstring(curve(LOG))
    train, valid = (line.get("points") for line in svg.iter("polyline"))
    first, last = train.split(" ")
    assert float(first.split(",")[1]) == EDGE and last == f"{WIDTH - EDGE:.1f},{HEIGHT - EDGE:.1f}"
    assert len(valid.split(" ")) == 1
    assert svg.get("aria-label") == "loss from 8.00 to 2.00 nats a token over 40 updates"


def test_a_run_that_logged_nothing_has_none():
    assert curve([]) == "" and curve([{"event": "train", "update": 1, "loss": None}]) == ""


def test_a_flat_curve_is_drawn():
    assert "polyline" in curve(LOG[:1])
