"""Trains a network on data: the step, the loop around it, resume at its start, scores at its end.

In: objects of the other rooms, put together by train.py, and the few flags that each needs.
Not in: Config, the environment, how workers find one another.
"""
