"""Versions of this package, where all rooms can read it, and of others."""
__version__ = "0.1.0"
# those that install the module cv2
OPENCV = ("opencv-python", "opencv-python-headless", "opencv-contrib-python", "opencv-contrib-python-headless",
          "opencv-python-rolling")


def version_of(package: str) -> str | None:
    """Of an installed package; None: it is not here."""
    from importlib import metadata  # which a start that needs no versions need not wait for
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def versions_of(packages: tuple[str, ...] | list[str]) -> dict[str, str]:
    """Of those that are installed, and of darknet_py, which comes first."""
    return {"darknet_py": __version__,
            **{package: found for package in packages if (found := version_of(package)) is not None}}
