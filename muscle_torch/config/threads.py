"""The number of usable CPU cores, the default of `threads=` and `workers=`."""

import os


def usable_cores() -> int:
    """Return the number of cores available to this process, at least 1.

    Respects an affinity mask (taskset, a container's cpuset, a cluster scheduler) on systems that have one.
    """
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
