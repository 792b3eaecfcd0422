"""The figures of SPEC 11: ``make bench`` measures them and writes ``docs/benchmarks.md``."""
