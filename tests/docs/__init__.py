"""Every command and snippet of README and docs, executed."""
