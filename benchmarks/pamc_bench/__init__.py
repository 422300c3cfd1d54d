"""Measuring networks against each other on one machine, and the reports about it."""
