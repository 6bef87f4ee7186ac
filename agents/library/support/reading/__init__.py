"""From files to passages that can be found and cited."""

from .folders import NothingToRead, read_folders

__all__ = ["NothingToRead", "read_folders"]
