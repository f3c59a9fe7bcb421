"""Who runs where, and how they meet and watch over one another.

In: launch variables (a mapping), addresses, timeouts, and the devices of this process.
Not in: data, networks, steps, files of a run.
"""
