"""The review desk: what waits for a person, everything that a person needs to see, their vote."""
