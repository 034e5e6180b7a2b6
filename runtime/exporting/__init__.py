"""Tools in the forms that others read: bundles with evidence, Agent Skills, MCP descriptions."""
