"""The report: text, tables, charts, pictures and the HTML page."""
