"""What to rent in each hour of the coming day or week, in one optimisation.

``make.make_schedule`` makes a schedule, ``check.check`` proves it, ``model`` is the mathematics.
"""
