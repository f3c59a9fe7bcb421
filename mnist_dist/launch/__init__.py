"""Starts the workers of a run, watches them, and decides what to do when they have ended.

In: a command to start, hosts, how each worker ended, the newest checkpoint's step.
Not in: TensorFlow, data, networks; how the workers meet.
"""
