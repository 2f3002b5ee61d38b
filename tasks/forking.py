"""What a worker's main process does before it forks, so that none of its processes has to."""

import gc
from contextlib import suppress

from billiard.util import get_pdeathsig


def prepare_to_fork() -> None:
    """Load what billiard loads in each new process, and have that share memory with this one.

    A process is replaced after some messages; each replacement would load cffi's parser of C anew
    (20 ms), to ask for a signal when its parent dies. Collections of garbage in a process would
    visit, and so copy, all that the main process had made.
    """
    with suppress(OSError):
        get_pdeathsig()
    gc.collect()
    gc.freeze()
