"""The compiled driver: the scheduler's logic once more, as one numba loop over arrays.

The only place where scheduling is written a second time. It owes bit-equality to the scheduler of
``policies`` on every pipeline that it accepts, and ``tests/test_compiled.py`` holds it to that. Its
modules carry the names of what they mirror: ``queues``, ``flow``, ``alarms``, ``scheduler``.
"""
