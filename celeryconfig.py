"""Celery's settings, each with its reason.

What depends on the organism (broker, queue, limits) is added by `tasks.application`. The
environment may choose here only what an operator decides for one process.
"""

import os

# --- What travels -------------------------------------------------------------------------

# A task message carries ids, nothing else. JSON is all they need, and no worker ever
# unpickles what it finds in a queue.
task_serializer = "json"
accept_content = ["json"]
event_serializer = "json"

# Answers go from the worker straight to the pumps; a result backend would store each one
# a second time, and nobody could await it.
task_ignore_result = True
result_backend = None

# --- Delivery -----------------------------------------------------------------------------

# Who runs what is decided by the claim in our ledger, so none of these is needed for an
# answer to enter exactly once. They keep copies rare and Celery's own view honest.
task_acks_late = True
# A message whose process died is published again by the ledger, which counts the deaths;
# the broker would hand it out for ever.
task_reject_on_worker_lost = False
# What a worker holds unstarted nobody else can run.
worker_prefetch_multiplier = 1
# A message that nobody can read costs its worker a new connection, not its life.
worker_consumer = "tasks.consumer:Consumer"
# The broker may be away for as long as it likes: the ledger keeps the work.
broker_connection_retry_on_startup = True
broker_connection_max_retries = None
# A control message would name modules to import.
worker_pool_restarts = False
# A handler that runs when the connection breaks goes on: its claim is not the broker's.
worker_cancel_long_running_tasks_on_connection_loss = False

# --- Processes ----------------------------------------------------------------------------

# Time limits, one event loop a process and the count of deaths need processes of our own.
worker_pool = "prefork"
# Nothing of ours is opened before the fork, so a copy of the parent is a clean start.
worker_pool_start_method = "fork"

# --- Monitoring ---------------------------------------------------------------------------

# Flower asks for events by itself, celery-exporter does not.
worker_send_task_events = True
# Without it nobody knows which queue a task waited in, or for how long.
task_send_sent_event = True
task_track_started = True

# --- Logging ------------------------------------------------------------------------------

# The level is the operator's; the rest of the root logger is the handlers' own affair.
worker_hijack_root_logger = os.environ.get("PUMP_KEEP_LOGGING") is None
# What a handler prints is not a log of ours.
worker_redirect_stdouts = False

# --- Time ---------------------------------------------------------------------------------

# Redis's clock decides about leases; events carry UTC.
enable_utc = True
timezone = "UTC"
