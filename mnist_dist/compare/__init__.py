"""Says where two runs part: in which flags, at which step, in which layer.

In: two runs' folders.
Not in: which run is better, which is the report's.
"""
