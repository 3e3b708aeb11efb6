"""`snakemake --lint` finds nothing but what is so by design."""

from __future__ import annotations

import json


def test_the_workflow_is_clean(project):
    result = project.snakemake("--lint", "json", timeout=120)
    report = json.loads(result.stdout[result.stdout.index("{\n") :])
    lints = [lint for part in report.values() for entry in part for lint in entry["lints"]]
    # All rules share the one pinned environment that `make` builds, so no rule names its own.
    unexpected = [lint for lint in lints if not lint["title"].startswith("Specify a conda environment or container")]
    assert lints and not unexpected, unexpected
