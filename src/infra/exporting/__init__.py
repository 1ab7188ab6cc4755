"""Telemetry that leaves the process: the OTel SDK, its exporters, and the way to the collector."""
