"""Keep freed memory in the process while a network is trained.

TensorFlow limits what the C library keeps to 128 kB (M_TRIM_THRESHOLD) once a generator feeds `fit`. Every batch is then handed back to the
kernel and faulted in again, page by page: nearly half of the processor time of a MobileNetV2 on two cores. See mallopt(3).
"""

import ctypes
import sys

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4
KEPT_BYTES = (1 << 31) - 1
TOP_PAD_BYTES = 64 << 20


def keep_freed_memory() -> bool:
    """Let the C library keep up to 2 GiB of freed memory. Returns whether it could be told; only glibc can."""
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    wanted = ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, KEPT_BYTES), (M_TOP_PAD, TOP_PAD_BYTES))
    return [mallopt(option, value) for option, value in wanted] == [1] * len(wanted)
