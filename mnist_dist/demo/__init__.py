"""A page in the browser: draw a digit and see a trained network classify it.

In: a run's folder; from the browser, strokes and photos.
Not in: anything that training imports.
"""
