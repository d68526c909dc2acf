"""``RunManager`` and its handles; opening, wiring and closing of what is below."""
