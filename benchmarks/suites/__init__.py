"""Runnable comparisons of methods on real data; not part of the wheel."""
