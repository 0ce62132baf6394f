"""What `threads=0` and `workers=0` mean: as many as this process has cores."""

import os


def usable_cores() -> int:
    """Return the number of cores that this process may use, at least 1.

    An affinity mask (taskset, a container's cpuset, a cluster's scheduler) counts, where the system has one.
    """
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
