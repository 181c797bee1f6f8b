"""Pixel noise: one module for each library, imported only when one of its methods is used.

Nothing here opens a file. Every decoder returns RGB uint8 arrays of shape (height, width, 3); every resize and colour
method takes and returns the same.
"""
