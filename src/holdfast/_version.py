"""The version of holdfast, read by the build and written into every snapshot."""

__version__ = "0.1.0"
