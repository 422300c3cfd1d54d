"""Merge methods. The file `pam_lattice.py` registers the method `pam-lattice`; nothing else names it."""
