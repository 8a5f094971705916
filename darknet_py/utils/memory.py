"""Memory of this process, of which the C library keeps some when it is freed."""
import ctypes
from contextlib import suppress

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4        # of glibc's mallopt
TOP_PAD = 1 << 26


def free_memory() -> None:
    """Give the system what was freed and kept for later (glibc; others keep little)."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def keep_memory() -> None:
    """From now on keep all that is freed, for work that needs the same memory over and over: the system would clear
    it each time, which takes a tenth of a training's time (glibc)."""
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        for option, value in ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, 2 ** 31 - 1), (M_TOP_PAD, TOP_PAD)):
            mallopt(option, value)
