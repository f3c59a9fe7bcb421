"""Finds where two runs first differ: in which flags, at which step, in which layer.

In: two runs' folders.
Not in: which run is better, which `report` says.
"""
