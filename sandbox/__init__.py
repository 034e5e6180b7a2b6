"""Runs untrusted code somewhere it can do no harm."""
