"""What a run leaves on the disk and says: checkpoints, metrics, TensorBoard, result, console.

In: folders, names, numbers, variables to be saved.
Not in: what the numbers mean; nothing here decides how a run goes on.
"""
