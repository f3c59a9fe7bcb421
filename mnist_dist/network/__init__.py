"""The network: logits from images; its layers, its table and its form in Keras's own layers.

In: an architecture, images, and which rows of the global batch a replica has (RowPositions).
Not in: labels, losses, gradients, devices, files.
"""
