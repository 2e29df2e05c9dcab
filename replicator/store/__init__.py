"""What one daemon keeps on its own disk: a cache, whose loss changes no result."""
