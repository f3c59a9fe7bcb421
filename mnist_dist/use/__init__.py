"""What a run is good for afterwards: its network is loaded, scored, asked and exported.

In: a folder that a run left; images, files of people's handwriting, data sets.
Not in: training, flags, other workers.
"""
