"""The roles of an open manager, one in each module. A role holds the roles below it that it needs."""
