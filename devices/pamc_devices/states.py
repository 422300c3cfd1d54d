"""What can be wrong with a device, one class a state. Each ends the command with exit code 5 and tells the cure."""

from pamc.errors import DeviceError

__all__ = [
    "AbsentError",
    "BusyError",
    "CommandError",
    "DamagedError",
    "LostError",
    "MissingRuntimeError",
    "NoSpaceError",
    "OfflineError",
    "ReadOnlyError",
    "TimedOutError",
    "UnauthorizedError",
    "WrongArchitectureError",
]


class AbsentError(DeviceError):
    """Nothing answers at that address, or no device has that serial number."""


class UnauthorizedError(DeviceError):
    """The device answers and refuses this user or key."""


class OfflineError(DeviceError):
    """The device is known but does not take commands now."""


class LostError(DeviceError):
    """The connection broke in the middle of a command or a transfer."""


class BusyError(DeviceError):
    """Another pamc uses the device."""


class NoSpaceError(DeviceError):
    """The device has not enough room."""


class ReadOnlyError(DeviceError):
    """A folder on the device cannot be written."""


class WrongArchitectureError(DeviceError):
    """What is to run was made for another processor."""


class MissingRuntimeError(DeviceError):
    """The device lacks what a network needs to run there."""


class TimedOutError(DeviceError):
    """A command did not end in its time; it was stopped."""


class DamagedError(DeviceError):
    """What came back, or what lies on the device, is not what was sent: cut off, garbled, or changed."""


class CommandError(DeviceError):
    """A command on the device failed for another reason; its exit status and last words are in the message."""
