import numpy as np
import pytest

from reluformer.cli.planning.measure import changed, decoding_batch, measure, write_corpus
from reluformer.cli.planning.plan import collect
from reluformer.cli.planning.sizes import Split
from reluformer.config.experiment import Experiment
from reluformer.corpus.store import Store

pytestmark = pytest.mark.slow

TINY = {"encoder_layers": 1, "decoder_layers": 1, "width": 16, "heads": 2, "slots": 16}


@pytest.fixture
def tiny(demo, tmp_path):
    config = demo.config.model_dump()
    wide = {"dataset": "*", "system": "ffn-softmax", "training": {"processes": 2}}
    changes = {"only": ["variance-ratio"], "model": TINY, "training": {"batch_tokens": 100}, "studies": {}}
    experiment = Experiment({**config, **changes, "overrides": [wide]}, folder=demo.folder)
    return collect(experiment, tmp_path)


def test_every_kind_and_step_is_timed(tiny):
    sizes, kinds = tiny
    told = []
    found = measure(kinds, sizes, 2, told.append)
    assert found.rates.keys() == kinds.keys() and len(kinds) == 3
    assert all(1e-4 < rates.update < 5 and 1e-6 < rates.decode < 1 for rates in found.rates.values())
    assert {"train", "translate", "analyse", "score", "study", "point"} == found.starts.keys()
    assert all(seconds > 0.05 for seconds in found.starts.values())
    assert 0 < found.scoring.line < 0.1 and 0 < found.scoring.sample < 1e-5
    assert sum("ms an update" in line for line in told) == 3


def test_a_measured_training_starts_from_nothing(demo):
    config = next(config for config in demo.runs.values() if config.training.start_from)
    short = changed(config, updates=5).training
    assert (short.updates, short.start_from) == (5, None)


def test_made_up_text_has_the_lengths_of_the_corpus(tiny, tmp_path):
    sizes = tiny[0]["demo-sentences"]
    write_corpus(tmp_path, "demo-sentences", sizes, 400)
    store = Store(tmp_path / "demo-sentences" / "store" / "train")
    assert store.vocabulary == sizes.vocabulary and store.src(0).min() >= 8
    assert store.src_lengths.mean() == pytest.approx(sizes.train.src.mean() - 1, rel=0.1)


def test_the_batch_with_the_middle_token_is_decoded():
    lengths = np.array([10] * 10 + [1] * 10)
    batch = decoding_batch(Split(20, lengths, lengths), 30)
    assert len(batch) == 3 and set(lengths[batch]) == {10}
