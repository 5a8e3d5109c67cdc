"""What registries, proxies and detectors say, turned into events.

A module for each kind. Log formats have `NAME` and `parse(line, fallback_time) -> Event | None`:
None is "not mine"; what comes over HTTP has `parse(body) -> list[Event]`. `detect.FORMATS` has the
log formats by name. All input is hostile: nothing here raises on any text, loops for long, or
trusts a size.
"""
