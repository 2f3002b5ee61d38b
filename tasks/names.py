"""What things are called between processes; imports no Celery."""

from pipeline.organism import Organism

#: Names the organism's file for whoever starts Celery's own command.
VARIABLE = "ORGANISM"
#: Names the file that a worker's main process touches while it gets around.
HEARTBEAT_VARIABLE = "PUMP_HEARTBEAT_FILE"
#: Where a worker's main process shows its metrics; without a port it shows none.
METRICS_PORT_VARIABLE, METRICS_HOST_VARIABLE = "PUMP_METRICS_PORT", "PUMP_METRICS_HOST"
#: The executor, as listeners and `CPU_EXECUTORS` name it.
EXECUTOR = "celery"


def task_name(organism: Organism, listener: str) -> str:
    """What a listener's task is called."""
    return f"{organism.name}.{listener}"
