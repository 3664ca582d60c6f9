"""Inputs that nobody meant: made up by hypothesis, kept where they broke something, and replayed."""
