"""The command line: one module per noun. Nothing slow is imported before a command needs it."""
