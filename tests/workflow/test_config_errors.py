"""A mistake in a configuration file ends `snakemake` before anything runs, in one line."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("file", "keys", "value", "message"),
    [
        (
            "studies.yaml",
            ("ablation", "systems"),
            ["reluforner"],
            "'reluforner': unknown system; did you mean 'reluformer'?",
        ),
        ("studies.yaml", ("gamma", "dataset"), "sentence", "'sentence': unknown dataset; did you mean 'sentences'?"),
        ("datasets/iwslt14.yaml", ("training", "updates"), "plenty", "'plenty': input should be a valid integer"),
        ("systems.yaml", ("rela", "attentoin"), {}, "attentoin: unknown key; did you mean 'attention'?"),
        ("config.yaml", ("sead",), 1, "sead: unknown key; did you mean 'seeds'?"),
        ("claims.yaml", ("distance", "study"), "distanec", "'distanec': unknown study; did you mean 'distance'?"),
    ],
)
def test_one_line_names_file_key_value_and_the_nearest_valid_name(project, edit, file, keys, value, message):
    edit(project.folder / "config" / file, *keys, value=value)

    result = project.snakemake("-n")

    assert result.returncode != 0
    line = next(line for line in result.stdout.splitlines() if line.startswith("Configuration error: "))
    assert line.startswith(f"Configuration error: config/{file}: ") and message in line
    assert "Traceback" not in result.stdout
    assert not (project.folder / "results").exists()
