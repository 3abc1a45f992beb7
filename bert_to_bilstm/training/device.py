"""The device: which one, whether it is fast at bf16, and its memory."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import torch
from accelerate import Accelerator

from bert_to_bilstm.files import first_line
from bert_to_bilstm.stages import on_cpu, say

BUSY = 0.5  # cores that others use, from which on it is told


def fast_bf16() -> bool:
    """Whether the hardware has units for bf16; without them autocast is slower than plain fp32."""
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether it says so of the accelerator's memory; Apple's raises a plain RuntimeError."""
    return isinstance(error, torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and "out of memory" in str(error)
    )


@contextmanager
def within_memory(remedy: str) -> Iterator[None]:
    """Raises SystemExit, with the `remedy`, where the accelerator's memory is full; decorates functions, too."""
    try:
        yield
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise SystemExit(f"the GPU is out of memory ({first_line(error)[:80]}): {remedy}.") from None


def make_accelerator() -> Accelerator:
    """CPU, one GPU, Apple's MPS, or a process of `accelerate launch`."""
    return Accelerator(
        mixed_precision="bf16" if fast_bf16() else "no",
        cpu=on_cpu(),
    )


def say_if_busy() -> None:
    """One line where other programs keep the cores busy on which a training is about to start."""
    cores = os.cpu_count() or 1
    busy = psutil.cpu_percent(interval=0.1) / 100 * cores  # this process sleeps meanwhile
    if busy > BUSY:
        say(f"Other programs keep {busy:.1f} of {cores} cores busy: this takes longer than on a machine of its own.")
