"""Pruners. The file `taylor.py` registers the pruner `taylor`; nothing else names it."""
