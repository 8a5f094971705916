"""Memory of this process."""
import ctypes
from contextlib import suppress


def free_memory() -> None:
    """Give the system what was freed and the C library keeps for later (glibc; others keep little)."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
