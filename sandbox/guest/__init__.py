"""The program inside the container; copied into the guest image, never imported by the host."""
