"""What noise inside a language model costs, on the four tasks that the paper's Table 5 has."""
