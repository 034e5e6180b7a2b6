"""The commands, one module each; a module has either `app` (a group) or `command`."""
