import subprocess
import sys

import pytest

FAULTS = """
import resource
from reluformer.ops.malloc import keep_freed_memory
keep_freed_memory()
def use():
    for _ in range(5):
        b"x" * (1 << 26)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
print(-use() + use())
"""


def faults(code: str) -> int:
    return int(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's malloc")
def test_freed_memory_is_kept_without_page_faults():
    """64 MiB, too much for malloc to keep by itself, are touched five times; 16,384 pages each time if given back."""
    given_back = faults(FAULTS.replace("\nkeep_freed_memory()", ""))
    assert given_back > 5 * 16_000
    assert faults(FAULTS) < given_back / 4
