"""Benchmarks: one module for each `foveal bench NAME`, each system beside its peers in one run; docs/benchmarks.md.

A bench is a function from `BenchSettings` to an iterator of rows, named in `registry.BENCHES`; `runner.run` runs it.
"""
