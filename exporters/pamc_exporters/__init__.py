"""Exporters that come with pamc, one package per format."""
