"""What is freed stays at hand: the next tensors need no new pages, until the memory is released."""

import subprocess
import sys

import pytest
from conftest import ROOT

from bert_to_bilstm.memory import c_library

THREADS = """
import resource, threading
import bert_to_bilstm
import torch
from benchmarks.measure import memory
from bert_to_bilstm.memory import release_memory

def in_a_new_thread():
    thread = threading.Thread(target=lambda: torch.zeros(100, 250_000))  # 100 MB
    thread.start(), thread.join()
    return memory("VmRSS"), resource.getrusage(resource.RUSAGE_SELF).ru_minflt

kept, faults = in_a_new_thread()
for _ in range(20):
    later, more_faults = in_a_new_thread()
release_memory()
print(later - kept, more_faults - faults, later - memory("VmRSS"))
"""


@pytest.mark.skipif(not c_library(), reason="the C library is not glibc")
def test_what_a_thread_has_freed_is_kept_for_the_next_one_until_it_is_released():
    result = subprocess.run([sys.executable, "-c", THREADS], cwd=ROOT, capture_output=True, text=True, check=True)
    grown, faults, released = map(float, result.stdout.split())
    assert grown < 500 and released > 90  # MB
    assert faults < 200_000  # pages of 4 KB: some that lie badly; tensors that were given back would need 500,000
