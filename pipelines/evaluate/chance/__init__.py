"""Doubts about a reference that scores no better than guessing: the predictions may be read in the wrong way.

A doubt is one line for the user, empty if there is none. It is raised if the figure is too low to be an accident of a
small sample, or if another reading of the same predictions gives a far higher one.
"""
