"""Keeps accepted tools with the evidence that they were accepted on."""
