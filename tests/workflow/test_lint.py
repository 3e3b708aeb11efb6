"""`snakemake --lint` finds nothing but what is so by design."""

from __future__ import annotations

import re

import pytest

pytestmark = pytest.mark.slow

# All rules share the one pinned environment that `make` builds, so no rule names its own.
BY_DESIGN = "Specify a conda environment or container for each rule."


def test_the_workflow_is_clean(project):
    result = project.snakemake("--lint")
    lints = re.findall(r"^    \* (.*):$", result.stdout, flags=re.MULTILINE)
    assert BY_DESIGN in lints, result.stdout  # otherwise the linter did not run, or its output changed
    assert [lint for lint in lints if lint != BY_DESIGN] == []
