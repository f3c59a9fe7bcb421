"""From a network and data to a trained run: the step, the loop around it, its beginning and end.

In: parts of the other rooms, put together by train.py, and small frozen parts of the flags.
Not in: Config, the environment, how workers find one another.
"""
