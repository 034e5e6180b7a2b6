"""The host's side of the network: reads what tools ask, compares it with grants, asks for them."""
