"""Who vouches for what the store keeps: keys, signatures, and the chain that they form."""
