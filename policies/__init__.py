"""What is allowed: values and pure functions. No I/O, no async, no clock."""
