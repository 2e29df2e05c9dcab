"""What one daemon keeps on its own disk. A cache: losing it changes no result."""
