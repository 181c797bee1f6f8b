"""How all pages look: their style sheet, the colours and markers of stages, and how templates are rendered.

Knows nothing of what a page shows.
"""
