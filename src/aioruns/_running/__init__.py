"""What an open manager does. One role a module; roles know those below them as objects."""
