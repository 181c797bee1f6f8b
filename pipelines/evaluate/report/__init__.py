"""The report: text, tables, charts, pictures and the page that holds them."""
