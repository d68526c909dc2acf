"""Jobs, their calls and arguments, and what a run sees of itself."""
