"""How a program on the power-loss file system says what it has committed. Imports nothing, so that any program may."""

from __future__ import annotations


def acknowledge(control: str, name: object) -> None:
    """From here on, what `name` stands for must survive a power cut.

    Args:
        control: the path of the file system's `.ctl`.
        name: one word.
    """
    tell(control, f"ack {name}")


def tell(control: str, command: str) -> None:
    """Give the file system a command; filesystem.py lists them. Raises OSError(EINVAL) for any other."""
    with open(control, "wb", buffering=0) as file:
        file.write(f"{command}\n".encode())
