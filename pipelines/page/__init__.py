"""The page of a set, `OUT/<dataset>/index.html`: what was made, how far the variants are apart, and where they differ.

One file below 5 MB that needs no network, derived from the manifests and tars beside it and from nothing else: the same
set gives the same bytes. Distances and maps are measured on a fixed selection of samples, and the page says how many.
Refuses nothing that a run may leave behind: a set without its reference, with failures, or with a single variant has a
page, which leaves out what cannot be compared.
"""
