"""What noise inside a language model costs, on the four tasks of the paper's Table 5."""
