"""The slow, independent implementation that tests and benchmarks compare with."""
