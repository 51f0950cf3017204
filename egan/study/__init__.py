"""Studies: arms, data sets and seeds at equal compute, and what the differences are worth."""
