"""The heap of the C library, where that is glibc; elsewhere nothing here does anything. Python's own modules alone."""

import ctypes
import platform
from functools import cache

M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -4, -8  # as malloc.h has them


@cache
def c_library() -> ctypes.CDLL | None:
    """The C library where it is glibc."""
    return ctypes.CDLL(None) if platform.libc_ver()[0] == "glibc" else None


def keep_freed_memory() -> None:
    """Has all threads allocate from one heap, which keeps what is freed until `release_memory`.

    By itself glibc gives large tensors back to the system at once, which then has to fill every page of the next ones
    with zeros. To be called before there are threads: each takes a heap of its own.
    """
    if library := c_library():
        library.mallopt(M_ARENA_MAX, 1)
        library.mallopt(M_MMAP_MAX, 0)
        library.mallopt(M_TRIM_THRESHOLD, -1)  # never


def release_memory() -> None:
    """Gives freed memory back to the system.

    The heap keeps the holes that tensors of ever new shapes leave, and would grow without end on the CPU.
    """
    if library := c_library():
        library.malloc_trim(0)
