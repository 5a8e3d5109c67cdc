"""The audit stream, from the door to Kafka: formats, the spool, followed files, transports.

It knows events and bytes on this host; nothing of vaults.
"""
