"""Tiering: plans, and what they would have saved."""
