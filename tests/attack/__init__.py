"""Ways round the gate, generated from tables."""
