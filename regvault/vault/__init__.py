"""The vault, format 1: objects by digest, trees, catalog, roots, leases. Knows no tags."""
