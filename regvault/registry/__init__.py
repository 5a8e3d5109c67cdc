"""Live registries: the distribution storage layout read and written, and OCI image layouts.

All of it works on the ObjectStore port (`regvault.model.store`), so that one reader and one writer
serve every storage driver.
"""
