"""The queue of a stage by its discipline."""

from __future__ import annotations

from policies.key_queue import KeyQueue, PriorityQueue
from policies.pipeline import Discipline
from policies.queues import FifoQueue, Queue
from policies.requests import RequestTable


def queue_for(discipline: Discipline, table: RequestTable) -> Queue:
    """An empty queue, of which no request leaves but for a batch."""
    if discipline is Discipline.FIFO:
        return FifoQueue(table)
    if discipline is Discipline.EDF:
        return KeyQueue(table, table.deadline_ns)
    return PriorityQueue(table, table.priority)
