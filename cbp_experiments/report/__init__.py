"""The page results/report.html: every figure, what the paper found, and what our runs say about that."""
