"""Benchmarks: one module for each claim; each prints its table and one JSON line."""
