"""What every job shares: errors, files, logs, seeds, records of outputs, digests of code."""
