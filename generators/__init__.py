"""The noise: encoded images to pixels (`pixels`), models to noised models (`models`), sound (`audio`) and boxes.

There is one module for each library, imported only when one of its methods is used. Nothing here opens an image file,
knows about shards or imports Ray.
"""
