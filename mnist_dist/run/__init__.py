"""The files that a run writes and the lines that it prints.

In: folders, names, numbers, the variables to save.
Not in: the meaning of the numbers; no decision on how a run continues.
"""
