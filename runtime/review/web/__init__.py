"""The review desk in a browser: `toolkiln review serve`, and the tokens to sign in with."""
