"""The noise: image bytes and pixels in, pixels out.

One module for each library, imported only when one of its methods is used. Nothing here opens a file, knows about
shards or imports Ray. Every decoder returns RGB uint8 arrays of shape (height, width, 3); every resize and colour
method takes and returns the same.
"""
