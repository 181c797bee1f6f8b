"""The noise: image bytes and pixels in, pixels out (`pixels`); a model in, a model out (`models`); boxes.

One module for each library, imported only when one of its methods is used. No image is opened here, nothing knows
about shards or imports Ray.
"""
