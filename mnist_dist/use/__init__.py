"""A trained run put to use: its network is loaded, scored, shown pictures and exported.

In: a folder that a run left; images, files of people's handwriting, data sets.
Not in: training, flags, other workers.
"""
