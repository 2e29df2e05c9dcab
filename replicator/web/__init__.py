"""HTTP: health, metrics and status for machines; later the console."""
