"""Devices that run bundles: this machine, boards over ssh, phones over adb, and arm64 processors emulated here."""
