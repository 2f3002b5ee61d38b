"""What things are called between processes; imports no Celery."""

from pipeline.organism import Organism

#: Names the organism's file for whoever starts Celery's own command.
VARIABLE = "ORGANISM"
#: Names the file that a worker's main process touches while it gets around.
HEARTBEAT_VARIABLE = "PUMP_HEARTBEAT_FILE"
#: The executor, as listeners and `CPU_EXECUTORS` name it.
EXECUTOR = "celery"


def task_name(organism: Organism, listener: str) -> str:
    """What a listener's task is called."""
    return f"{organism.name}.{listener}"
