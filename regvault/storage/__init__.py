"""Object stores: bytes by key, on memory, disk and S3.

Every adapter implements `regvault.model.store.ObjectStore` and passes one contract suite
(`tests/contract/`). Adapters are imported by their module (`regvault.storage.local`), so that a
run loads no library that it does not use.
"""
