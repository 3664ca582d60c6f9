"""Every surface in every shape with every outcome: each cell enforces, or is refused with a clear error."""
