"""A reference that scores as guessing does, and why: what was given means something else than it is read as.

A doubt is one line for the user, empty where there is none. It is raised where so low a figure is no accident of a
small sample, or where another reading of the same predictions gives one far higher.
"""
