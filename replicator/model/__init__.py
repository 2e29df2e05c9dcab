"""Values only: names, states, status snapshots, batch headers. Standard library only."""
