"""Logits from images: the network's shape, its layers, and what is done to images before it.

In: an architecture, images, and what a replica knows of its rows (RowPositions).
Not in: labels, losses, gradients, devices, files.
"""
