"""Names that others need to know, without Celery behind them."""

#: Names the organism's file for whoever starts Celery's own command.
VARIABLE = "ORGANISM"
#: The executor whose handlers run on workers.
EXECUTOR = "celery"
