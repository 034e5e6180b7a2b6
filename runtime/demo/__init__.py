"""The demonstration: three sessions, from a request that no tool serves to a contained attack."""
