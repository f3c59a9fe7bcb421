"""A page in the browser: draw a digit, and see what a trained network makes of it.

In: a run's folder; from the browser, strokes and photos.
Not in: anything that training imports.
"""
