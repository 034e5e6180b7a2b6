"""What the sandbox costs, beside what the engine and the kernel cost in the same run."""
