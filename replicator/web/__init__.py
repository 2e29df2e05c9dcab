"""HTTP: health, metrics and status for machines."""
