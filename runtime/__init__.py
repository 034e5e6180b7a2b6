"""The conversation, the command line and the wiring; the only place that knows all parts."""
