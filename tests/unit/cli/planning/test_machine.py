from reluformer.cli.planning import machine
from reluformer.cli.planning.gpus import Rates
from reluformer.cli.planning.measure import Measurement
from reluformer.cli.planning.plan import collect
from reluformer.cli.planning.scoring import STATED


def test_what_was_measured_is_said_with_its_limits(demo, tmp_path, monkeypatch):
    sizes, kinds = collect(demo, tmp_path)
    rates = {
        key: Rates(0.1, 0.01, "of 9 target tokens an update, scaled" if not at else "") for at, key in enumerate(kinds)
    }
    monkeypatch.setattr(
        machine, "measure", lambda kinds, sizes, slots, tell: Measurement(rates, {"train": 6.0}, STATED)
    )
    monkeypatch.setattr(machine, "visible_devices", list)
    basis, devices = machine.on_this_machine(kinds, sizes, 3, print)
    assert devices == 3 and not basis.on_gpus and basis.rates is rates
    assert "CPU time" in basis.words[0] and "of 9 target tokens" in " ".join(basis.words)
