"""The command line: one module per noun. Slow imports wait until a command needs them."""
