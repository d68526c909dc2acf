"""``RunManager`` and its handles, and what opens, wires and closes the roles."""
