"""Kafka: how it is reached, and the two libraries that speak it."""
