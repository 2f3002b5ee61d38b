"""Where handlers run: one contract, and the executors that need no Celery."""

from pipeline.executors.inline import InlineExecutor
from pipeline.executors.process_pool import ProcessPoolExecutor
from pipeline.executors.protocol import Dispatcher, Executor

__all__ = ["Dispatcher", "Executor", "InlineExecutor", "ProcessPoolExecutor"]
